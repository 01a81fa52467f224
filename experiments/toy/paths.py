"""The path of a method from every start, kept on disk."""

from __future__ import annotations

import pathlib
import time
import zipfile
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmtl
from experiments.runner.methods import Method
from experiments.runner.store import folder_name
from experiments.toy.config import Config
from experiments.toy.problem import STARTS, losses_fn
from jaxmtl import training


class Path(NamedTuple):
  """What training by a method gave.

  Attributes:
    points: float `[starts, records + 1, 2]`, the starts first.
    seconds: of all steps of all starts.
    compile_seconds: before.
  """

  points: np.ndarray
  seconds: float
  compile_seconds: float


def train(config: Config, name: str) -> Path:
  """Descends by one method from every start.

  Raises:
    ValueError: if the method does not take two tasks.
  """
  weighting, aggregator = Method.parse(name).build(2, None)
  parts: list[Any] = [] if weighting is None else [weighting]
  parts.append(jaxmtl.sum_tasks(2) if aggregator is None else aggregator)
  optimizer = optax.chain(
    *map(optax.with_extra_args_support, parts), optax.adam(config.learning_rate)
  )
  grad_fn = jaxmtl.task_value_and_grad(lambda t: losses_fn(t, config.scale_first) + config.offset)

  def step(carry: Any, _: Any) -> Any:
    theta, state = carry
    losses, grads = grad_fn(theta)
    updates, state = optimizer.update(grads, state, theta, losses=losses)
    return (jaxmtl.apply_updates(theta, updates), state), None

  def record(carry: Any, _: Any) -> Any:
    carry, _ = jax.lax.scan(step, carry, None, length=config.steps // config.records)
    return carry, carry[0]

  def path(start: jax.Array) -> jax.Array:
    _, points = jax.lax.scan(record, (start, optimizer.init(start)), None, length=config.records)
    return jnp.concatenate([start[None], points])

  starts, begun = jnp.array(STARTS), time.perf_counter()
  compiled = jax.jit(jax.vmap(path)).lower(starts).compile()
  ready = time.perf_counter()
  points = np.asarray(compiled(starts))
  return Path(points, time.perf_counter() - ready, ready - begun)


def file_of(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Where a method's path is."""
  return folder / "paths" / f"{folder_name(name)}.npz"


def read(folder: pathlib.Path, name: str) -> Path | None:
  """A path that is on disk, or None."""
  file = file_of(folder, name)
  if not file.exists():
    return None
  try:
    with np.load(file) as saved:
      return Path(saved["points"], float(saved["seconds"]), float(saved["compile_seconds"]))
  except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"{file} cannot be read ({error}); move it away to train anew.") from error


def write(folder: pathlib.Path, name: str, path: Path) -> None:
  """Keeps a path; the file appears only when complete."""
  with training.replacing(file_of(folder, name)) as draft, draft.open("wb") as opened:
    np.savez(opened, **path._asdict())
