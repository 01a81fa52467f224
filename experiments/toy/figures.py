"""The figure of the toy problem."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.toy.config import Config
from experiments.toy.problem import LIMIT, grid
from jaxmtl import plots


def draw(
  config: Config,
  paths: Mapping[str, np.ndarray],
  front: np.ndarray,
  near: float,
  folder: pathlib.Path,
) -> dict[str, Figure]:
  """Draws a panel a method, by title, with its path from each start; by file, as it is written."""
  path_color, end_color, *_, front_color = plots.COLORS[:5]
  thetas, losses = grid(config.scale_first, (201, 201))
  figure, panels = plots.panel_grid(len(paths), (1.9, 1.9))
  left = min(axes.get_position().x0 for axes in panels)
  for axes, (title, points) in zip(panels, paths.items(), strict=True):
    axes.contour(
      thetas[..., 0], thetas[..., 1], losses.mean(-1), levels=25, cmap="Greys", linewidths=0.4
    )
    axes.plot(*front.T, ".", color=front_color, markersize=4, label="Pareto front")
    for index, path in enumerate(points):
      axes.plot(*path.T, color=path_color, lw=1, label=None if index else "path")
      axes.plot(*path[0], "o", color="black", markersize=3.5, label=None if index else "start")
      axes.plot(*path[-1], "*", color=end_color, markersize=7, label=None if index else "end")
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    axes.set_title(title, fontsize=8)
    if axes.xaxis.get_tick_params()["labelbottom"]:
      axes.set_xlabel(r"$\theta_1$", fontsize=8)
    if axes.get_position().x0 == left:
      axes.set_ylabel(r"$\theta_2$", fontsize=8)
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
  title = (
    f"{config.steps} steps, the first loss scaled by {config.scale_first:g}; contours: mean loss\n"
    f"in titles: ends within {near:g} of the front"
  )
  file = "trajectories.png"
  return {file: plots.finish(figure, folder / file, title)}
