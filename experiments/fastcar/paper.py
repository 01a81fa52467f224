"""Published figures, of steel's published split at 224 px, by metric and task."""

from experiments.problems.properties import CLASS, VALUE

MINUTES = {"FastCAR": 16.3, "best MTL model by column": 15.9}
# The second one has the best of 204 models in each column.
FIGURES: dict[str, dict[str, dict[str, float]]] = {
  "FastCAR": {
    "accuracy": {CLASS: 99.54},
    "mse": {VALUE: 606},
    "mae": {VALUE: 12},
    "mape": {VALUE: 2.40},
    "near": {VALUE: 98.6},
  },
  "best MTL model by column": {
    "accuracy": {CLASS: 99.85},
    "mse": {VALUE: 59600},
    "mape": {VALUE: 53.70},
  },
}


def cells(name: str) -> list[str]:
  """A row of the table."""
  found = {metric: next(iter(by_task.values())) for metric, by_task in FIGURES[name].items()}
  formats = {"accuracy": ".2f", "mse": ".0f", "mae": ".0f", "mape": ".2f", "near": ".1f"}
  texts = [f"{found[m]:{f}}" if m in found else "-" for m, f in formats.items()]
  return [f"paper: {name}", *texts, f"{MINUTES[name]:.1f}"]
