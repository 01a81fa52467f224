"""Toy: every method on the two-objective problem of the CAGrad and Nash-MTL papers.

Two parameters, two losses whose gradients differ in size, conflict, and have steep valleys where
descent on one loss gets stuck. Five start points are trained together by Adam; the figure shows
the path of each method from each start, and the Pareto front.

  python -m experiments.toy                        # minutes on a CPU
  python -m experiments.toy --scale-first 0.1      # the Nash-MTL paper's scaling of the first loss
  python -m experiments.toy --offset 25            # positive losses: every method takes part

Writes under `--workdir`: config.json, results.json, results.md and trajectories.png.

References: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", 2021, appendix;
Navon et al., "Multi-Task Learning as a Bargaining Game", 2022.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmtl
from experiments.common import command_line, write_config
from experiments.toy_problem import (
  LIMIT,
  STARTS,
  distance_to_front,
  grid,
  losses_fn,
  pareto_front,
)
from jaxmtl import plots
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.training import results
from jaxmtl.weighting import METHODS as WEIGHTINGS

NEAR = 0.1
"""Distance to the front, in units of the losses, up to which an end counts as on it."""
# What these methods do with a loss that is not positive.
NEED_POSITIVE = {
  "gls": "the geometric mean is of positive losses",
  "famo": "it descends the logarithms of the losses",
  "gradnorm": "it compares losses with their first values as ratios",
  "imtl_l": "it brings e^s L to 1",
  "uncertainty": "L / (2 e^s) + s / 2 has no minimum over s",
  "dwa": "it compares losses of successive steps as ratios",
  "db_mtl": "it descends the logarithms of the losses",
}


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment."""

  methods: tuple[str, ...] = (*WEIGHTINGS, *AGGREGATORS)
  """Weightings (their tasks are summed) and aggregators."""
  scale_first: float = 1.0
  """Factor of the first loss: 1 in the CAGrad paper, 0.1 in the Nash-MTL paper."""
  offset: float = 0.0
  """Added to both losses; 25 makes them positive, as some methods need them."""
  steps: int = 50000
  learning_rate: float = 1e-3
  """Adam's, the same for every method."""
  records: int = 500
  """Points of each path that are kept."""
  workdir: str = "runs/toy"
  """Where results go."""


def train(config: Config, name: str) -> np.ndarray:
  """The path of one method from every start, float `[starts, records + 1, 2]`.

  Raises:
    ValueError: if the method does not take two tasks.
  """
  if name in WEIGHTINGS:
    method = optax.chain(WEIGHTINGS[name](2), jaxmtl.sum_tasks(2))
  else:
    method = AGGREGATORS[name](2)
  optimizer = optax.chain(optax.with_extra_args_support(method), optax.adam(config.learning_rate))
  grad_fn = jaxmtl.task_value_and_grad(lambda t: losses_fn(t, config.scale_first) + config.offset)

  def step(carry: Any, _: Any) -> Any:
    theta, state = carry
    losses, grads = grad_fn(theta)
    updates, state = optimizer.update(grads, state, theta, losses=losses)
    return (jaxmtl.apply_updates(theta, updates), state), None

  def record(carry: Any, _: Any) -> Any:
    carry, _ = jax.lax.scan(step, carry, None, length=config.steps // config.records)
    return carry, carry[0]

  @jax.jit
  @jax.vmap
  def path(start: jax.Array) -> jax.Array:
    _, points = jax.lax.scan(record, (start, optimizer.init(start)), None, length=config.records)
    return jnp.concatenate([start[None], points])

  return np.asarray(path(jnp.array(STARTS)))


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains every method and writes the figure and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: for each method, from each start, the end, its losses (without
    offset) and its distance to the Pareto front; and why other methods were left out.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
  """
  _check(config)
  folder = pathlib.Path(workdir or config.workdir)
  thetas, front = pareto_front(config.scale_first)
  left_out = _left_out(config)
  for name, reason in left_out.items():
    print(f"{name} is left out: {reason}.")
  write_config(folder, config, replace=True)

  rows, paths = [], {}
  for name in (n for n in config.methods if n not in left_out):
    started = time.perf_counter()
    paths[name] = train(config, name)
    ends = paths[name][:, -1]
    losses = np.asarray(jax.vmap(lambda t: losses_fn(t, config.scale_first))(jnp.asarray(ends)))
    rows.append(
      {
        "method": name,
        "end": ends.tolist(),
        "losses": losses.tolist(),
        "distance": distance_to_front(losses, front).tolist(),
        "seconds": time.perf_counter() - started,
      }
    )
    print(f"{name}: {rows[-1]['seconds']:.1f} s, {_reached(rows[-1])}")
  outcome = {"config": dataclasses.asdict(config), "results": rows, "left_out": left_out}
  _draw(config, paths, rows, thetas, folder)
  starts = [f"from ({x:g}, {y:g})" for x, y in STARTS]
  title = (
    f"Two objectives, the first scaled by {config.scale_first:g}: end losses, and distance to the "
    f"Pareto front, after {config.steps} steps of Adam, learning rate {config.learning_rate:g}"
  )
  cells = [[row["method"], *_cells(row), _reached(row)] for row in rows]
  results.write_results(folder, title, ["method", *starts, f"within {NEAR:g}"], cells, outcome)
  print(f"Results and figure are in {folder}.")
  return outcome


def _check(config: Config) -> None:
  known = sorted({**WEIGHTINGS, **AGGREGATORS})
  for name in config.methods:
    if name not in known:
      raise ValueError(f"method {name!r} is not known; known ones: {', '.join(known)}.")
  if not config.scale_first > 0:
    raise ValueError(f"scale_first must be positive, got {config.scale_first}.")
  if not 1 <= config.records <= config.steps or config.steps % config.records:
    raise ValueError(
      f"steps must be a multiple of records, got {config.steps} and {config.records}."
    )


def _left_out(config: Config) -> dict[str, str]:
  """Why methods cannot take part."""
  reasons = {}
  lowest = grid(config.scale_first, (201, 201))[1].min() + config.offset
  for name in config.methods:
    if lowest <= 0 and name in NEED_POSITIVE:
      reasons[name] = (
        f"{NEED_POSITIVE[name]}, and these fall to {lowest:.1f}; --offset 25 lets it take part"
      )
    try:
      {**WEIGHTINGS, **AGGREGATORS}[name](2)
    except ValueError as error:
      reasons[name] = f"it does not take two tasks ({error})"
  return reasons


def _reached(row: dict[str, Any]) -> str:
  return f"{sum(d < NEAR for d in row['distance'])} of {len(STARTS)}"


def _cells(row: dict[str, Any]) -> list[str]:
  pairs = zip(row["losses"], row["distance"], strict=True)
  return [f"{first:.1f}, {second:.1f} ({distance:.2f})" for (first, second), distance in pairs]


def _draw(
  config: Config,
  paths: dict[str, np.ndarray],
  rows: list[dict[str, Any]],
  front: np.ndarray,
  folder: pathlib.Path,
) -> None:
  thetas, losses = grid(config.scale_first, (201, 201))
  figure, panels = plots.panel_grid(len(paths), (1.9, 1.9))
  for axes, row in zip(panels, rows, strict=True):
    name = row["method"]
    axes.contour(
      thetas[..., 0], thetas[..., 1], losses.mean(-1), levels=25, cmap="Greys", linewidths=0.4
    )
    axes.plot(*front.T, ".", color="#E69F00", markersize=4, label="Pareto front")
    for index, path in enumerate(paths[name]):
      axes.plot(*path.T, color="#0072B2", lw=1, label=None if index else "path")
      axes.plot(*path[0], "o", color="black", markersize=3.5, label=None if index else "start")
      axes.plot(*path[-1], "*", color="#D55E00", markersize=7, label=None if index else "end")
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    axes.set_title(f"{name}, {_reached(row)}", fontsize=8)
  figure.suptitle(
    f"{config.steps} steps, the first loss scaled by {config.scale_first:g}; contours: mean loss\n"
    f"in titles: ends within {NEAR:g} of the front",
    fontsize=10,
  )
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
  figure.savefig(folder / "trajectories.png", dpi=150)


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, {"quick": Config()}, "python -m experiments.toy", args)


if __name__ == "__main__":
  main()
