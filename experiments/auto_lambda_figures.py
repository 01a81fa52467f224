"""Figures of `experiments.auto_lambda`: weights, task relations, exact against approximate."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.auto_lambda_tables import MULTI_TASK, Outcomes
from jaxmtl import plots

# Lines that a panel can show apart; of more tasks those with the largest and smallest weights.
_LINES = 7


def draw(folder: pathlib.Path, tasks: Sequence[str], outcomes: Outcomes, approximate: str) -> None:
  """Draws what there is: nothing where no run was Auto-lambda's."""
  learned = {
    setting: outcome.weights
    for (setting, name), outcome in outcomes.items()
    if name == "auto_lambda" and outcome.weights
  }
  if not learned:
    return

  def last(weights: dict[str, np.ndarray], task: str) -> float:
    return float(weights[task][:, -1].mean())

  panels = {}
  for setting, weights in learned.items():
    order = sorted(tasks, key=lambda t: last(weights, t))
    shown = order if len(order) <= _LINES else order[:3] + order[-3:]
    if setting in tasks and setting not in shown:
      shown.append(setting)
    title = setting if setting == MULTI_TASK else f"primary: {setting}"
    panels[title] = {t: weights[t] for t in tasks if t in shown}
  plots.plot_panels(
    folder / "weights.png",
    panels,
    xlabel="epoch",
    ylabel="task weight",
    title="Auto-lambda's weights, mean over seeds",
  )
  plots.plot_heat_map(
    folder / "relations.png",
    np.array([[last(weights, t) for t in tasks] for weights in learned.values()]),
    list(learned),
    list(tasks),
    title="last weight of each task (column) by primary task (row)",
    digits=2,
    floor=1.0,
  )
  near = outcomes.get((MULTI_TASK, approximate))
  if near is not None and near.weights and MULTI_TASK in learned:
    exact = learned[MULTI_TASK]
    plots.plot_curves(
      folder / "exact.png",
      {t: np.abs(exact[t] - near.weights[t]) for t in tasks},
      xlabel="epoch",
      ylabel="difference of weights",
      title=f"exact against {approximate.removeprefix('auto_lambda, ')}: mean and range of seeds",
    )
