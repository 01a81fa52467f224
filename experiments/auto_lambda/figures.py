"""Figures of the Auto-lambda experiment: weights, task relations, exact against approximate."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from experiments.auto_lambda.config import Config
from experiments.auto_lambda.jobs import MULTI_TASK, Key
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from jaxmtl.plots import COLORS, panel_grid

# Lines that a panel can show apart; of more tasks those with the largest and smallest values.
_LINES = 7
# With more tasks than colours, each colour comes in these forms.
_FORMS = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


class Gaps(NamedTuple):
  """How far the weights of two trainings are apart.

  Attributes:
    epochs: of the rows that both have.
    by_task: absolute differences, `[runs, rows]`; empty where a training is missing.
  """

  epochs: np.ndarray
  by_task: dict[str, np.ndarray]


def weights_of(outcome: Outcome) -> dict[str, np.ndarray]:
  """Task weights through training, `[runs, rows]`; empty where the method has none."""
  if not outcome.history or "weights" not in outcome.history[-1]:
    return {}
  return outcome.by_task("weights")


def gaps(exact: Outcome | None, near: Outcome | None) -> Gaps:
  """The differences of two trainings' weights, where both are there and finished."""
  if exact is None or near is None or exact.failure or near.failure:
    return Gaps(np.empty(0), {})
  epochs, mine, theirs = np.intersect1d(exact.epochs, near.epochs, return_indices=True)
  first, second = weights_of(exact), weights_of(near)
  return Gaps(epochs, {t: np.abs(first[t][:, mine] - second[t][:, theirs]) for t in first})


def draw(config: Config, found: Mapping[Key, Outcome], apart: Gaps, folder: pathlib.Path) -> None:
  """Writes what there is: nothing where no run was Auto-lambda's."""
  learned = {
    setting: outcome
    for (setting, name), outcome in found.items()
    if name == "auto_lambda" and not outcome.failure
  }
  if not is_main() or not learned:
    return
  made = {"weights": weights(config, learned), "relations": relations(config, learned)}
  if apart.by_task:
    made["exact"] = difference(config, apart)
  for name, figure in made.items():
    figure.savefig(folder / f"{name}.png", dpi=150)


def weights(config: Config, learned: Mapping[str, Outcome]) -> matplotlib.figure.Figure:
  """A panel for each choice of primary tasks, in it a line a task: mean and range of seeds."""
  figure, panels = panel_grid(len(learned), (2.6, 2.1))
  shown: list[str] = []
  for axes, (setting, outcome) in zip(panels, learned.items(), strict=True):
    values = weights_of(outcome)
    mine = _extremes(config.tasks, {t: v[:, -1].mean() for t, v in values.items()}, setting)
    shown += mine
    axes.axhline(config.weights.weight_init, color="0.7", lw=0.8, zorder=0)
    if min(values[t].min() for t in mine) < 0:
      axes.axhline(0, color="0.3", lw=0.8, zorder=0)
    _lines(axes, config, outcome.epochs, {t: values[t] for t in mine})
    axes.set_title(setting if setting == MULTI_TASK else f"primary: {setting}", fontsize=9)
    if axes.xaxis.get_tick_params()["labelbottom"]:
      axes.set_xlabel("epoch", fontsize=8)
  figure.supylabel("task weight", fontsize=9)
  start = f"{config.weights.weight_init:g}"
  title = f"Auto-lambda's weights, from {start} (grey line):\n{_seeds(config)}"
  figure.suptitle(title + _some(config, " and the primary one"), fontsize=9)
  _legend(figure, config, shown)
  return figure


def relations(config: Config, learned: Mapping[str, Outcome]) -> matplotlib.figure.Figure:
  """The last weight of each task by choice of primary tasks, those below zero in red."""
  tasks = list(config.tasks)
  last = {setting: weights_of(outcome) for setting, outcome in learned.items()}
  values = np.array([[by_task[t][:, -1].mean() for t in tasks] for by_task in last.values()])
  turned = len(tasks) > 8
  room = 0.08 * max(map(len, tasks)) if turned else 0.0
  size = 2.8 + (0.5 if turned else 0.9) * len(tasks), 1.4 + 0.3 * len(values) + room
  figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
  axes = figure.subplots()
  limit = max(float(np.abs(values[np.isfinite(values)]).max(initial=0)), 1e-3)
  image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
  axes.set_xticks(range(len(tasks)), tasks, rotation=90 if turned else 0)
  axes.set_yticks(range(len(last)), list(last))
  axes.tick_params(length=0)
  axes.set(xlabel="task", ylabel="primary task")
  for (row, column), value in np.ndenumerate(values):
    color = "white" if abs(value) > 0.6 * limit else "black"
    axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
  figure.colorbar(image, label="weight", format="%.2g")
  title = f"last weight by primary task; mean of {config.run.seeds} seed(s)"
  figure.suptitle(title, fontsize=10)
  return figure


def difference(config: Config, apart: Gaps) -> matplotlib.figure.Figure:
  """A line a task: how far approximate weights are from exact ones."""
  figure = matplotlib.figure.Figure(figsize=(6.4, 4), layout="constrained")
  axes = figure.subplots()
  shown = _extremes(config.tasks, {t: gap.mean() for t, gap in apart.by_task.items()}, "")
  _lines(axes, config, apart.epochs, {t: apart.by_task[t] for t in shown})
  axes.set(xlabel="epoch", ylabel="difference of weights")
  axes.set_ylim(bottom=0)
  names = config.compare.replace("_", " ")
  title = f"exact against {names} gradients: {_seeds(config)}"
  axes.set_title(title + _some(config), fontsize=10)
  _legend(figure, config, shown)
  return figure


def style(config: Config, task: str) -> dict[str, Any]:
  """A task's colour, and the form of its line, the same in all panels and figures."""
  form, color = divmod(config.tasks.index(task), len(COLORS))
  return {"color": COLORS[color], "linestyle": _FORMS[form % len(_FORMS)]}


def _extremes(tasks: Sequence[str], values: Mapping[str, float], always: str) -> list[str]:
  """The tasks of the largest and smallest values, if there are many; and one of them always."""
  order = sorted(tasks, key=lambda t: values[t])
  chosen = order if len(order) <= _LINES else [*order[:3], *order[-3:], always]
  return [task for task in tasks if task in chosen]


def _seeds(config: Config) -> str:
  """What lines and bands are."""
  return f"mean and range of {config.run.seeds} seed(s)" if config.run.seeds > 1 else "one seed"


def _some(config: Config, others: str = "") -> str:
  """What a title adds where not all tasks are shown."""
  count = len(config.tasks)
  return "" if count <= _LINES else f"\nof {count} tasks the three lowest and highest{others}"


def _lines(axes: Any, config: Config, epochs: np.ndarray, by_task: Mapping[str, Any]) -> None:
  """Means and ranges over runs."""
  for task, values in by_task.items():
    look = style(config, task)
    marker = "o" if len(epochs) == 1 else None
    axes.plot(epochs, values.mean(0), lw=1.3, marker=marker, markersize=4, label=task, **look)
    if len(values) > 1:
      low, high = values.min(0), values.max(0)
      axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, lw=0)
  axes.set_xlim(0, 1.02 * float(epochs[-1]))
  axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
  axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: matplotlib.figure.Figure, config: Config, shown: Iterable[str]) -> None:
  """One of all tasks that are shown, below the panels."""
  found: dict[str, Any] = {}
  for axes in figure.axes:
    found |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
  tasks = [task for task in config.tasks if task in set(shown)]
  # An inch takes about eleven letters, and a line before a name as much room as six.
  fit = int(11 * figure.get_figwidth() / (6 + max(map(len, tasks))))
  columns = max(1, min(len(tasks), fit))
  lines_below = -(-len(tasks) // columns) - 1
  figure.set_figheight(figure.get_figheight() + 0.2 * lines_below)
  handles = [found[task] for task in tasks]
  figure.legend(
    handles, tasks, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
  )
