"""The weights of the best evaluation so far."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxmtl.training.state import variables_of
from jaxmtl.training.weights import load_weights, read_notes, save_weights

PyTree = Any


class BestWeights:
  """Keeps in a file the weights of the evaluation with the highest score, run by run.

  Choose on validation data: what is chosen on the test set says nothing about other data. Training
  that goes on compares with what the file holds.

  Example:
    >>> import tempfile, jax.numpy as jnp
    >>> from jaxmtl.training import BestWeights, load_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   best = BestWeights(f"{folder}/best.safetensors", lambda row: row["accuracy"], lambda s: s)
    ...   for step, accuracy in enumerate([0.5, 0.9, 0.7]):
    ...     best.update({"w": jnp.array(step)}, {"step": step, "accuracy": accuracy})
    ...   load_weights(best.path)["w"].tolist()
    1
  """

  def __init__(
    self,
    path: str | pathlib.Path,
    score: Callable[[dict[str, Any]], Any],
    variables: Callable[[PyTree], PyTree] = variables_of,
  ):
    """Says what counts.

    Args:
      path: of the file, `.safetensors`.
      score: `row -> number`, or `[runs]` where states are stacked by `jax.vmap`; the higher the
        better (negate a loss).
      variables: what is kept of a state, nested dicts; what the network needs by default.
    """
    self.path = pathlib.Path(path)
    self._score, self._variables = score, variables

  def update(self, state: PyTree, row: dict[str, Any]) -> None:
    """Looks at a state and the row of its evaluation."""
    score = np.asarray(self._score(row), float)
    variables = jax.device_get(self._variables(state))
    if not self.path.exists():
      save_weights(self.path, variables, score=score.tolist(), step=_steps(score, row))
      return
    notes = read_notes(self.path)
    before = np.asarray(notes["score"], float)
    better = (score > before) | ~np.isfinite(before)
    if not better.any():
      return
    kept = load_weights(self.path)
    step = np.where(better, row["step"], notes["step"])

    def choose(new: Any, old: Any) -> Any:
      return np.where(better.reshape(better.shape + (1,) * (new.ndim - better.ndim)), new, old)

    # Empty dicts are not in the file.
    new = jax.tree.unflatten(jax.tree.structure(kept), jax.tree.leaves(variables))
    chosen = jax.tree.map(choose, new, kept)
    save_weights(
      self.path, chosen, score=np.where(better, score, before).tolist(), step=step.tolist()
    )

  def waited(self, step: int) -> int:
    """Steps since the last of the runs had its best evaluation, 0 before there was any."""
    if not self.path.exists():
      return 0
    return step - int(np.max(self.steps))

  @property
  def steps(self) -> Any:
    """The step of the best evaluation, or of each run's; there must have been one."""
    return read_notes(self.path)["step"]


def _steps(score: np.ndarray, row: dict[str, Any]) -> Any:
  return np.full(score.shape, row["step"]).tolist()
