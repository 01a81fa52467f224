"""Checkpoints: orbax behind one class, with configuration check and fall-back."""

from __future__ import annotations

import logging
import pathlib
from typing import TYPE_CHECKING, Any

from jaxmtl._extras import Optional
from jaxmtl._keys import unwrap_keys, wrap_keys

if TYPE_CHECKING:
  import orbax.checkpoint as ocp
else:
  ocp = Optional("orbax.checkpoint", "training", __name__)

PyTree = Any
_logger = logging.getLogger(__name__)


class Checkpointer:
  """Saves and restores train states of one run.

  Writes go on in the background; a checkpoint appears only when it is complete. The last
  `max_to_keep` are kept.

  Example:
    >>> import tempfile, jax.numpy as jnp
    >>> from jaxmtl.training import Checkpointer
    >>> with tempfile.TemporaryDirectory() as folder, Checkpointer(folder, {"lr": 0.1}) as saver:
    ...   saver.save(1, {"w": jnp.ones(2)})
    ...   step, state = saver.restore({"w": jnp.zeros(2)})
    >>> step, state["w"].tolist()
    (1, [1.0, 1.0])
  """

  def __init__(
    self, folder: str | pathlib.Path, config: dict[str, Any] | None = None, max_to_keep: int = 2
  ):
    """Opens, and creates where missing, the folder.

    Args:
      folder: where checkpoints go, one sub-folder a step.
      config: what must be the same when training goes on, JSON-compatible; stored with each
        checkpoint.
      max_to_keep: how many checkpoints stay; at least 2, so that there is one to fall back to.

    Raises:
      ValueError: if `max_to_keep` is below 2.
    """
    if max_to_keep < 2:
      raise ValueError(f"max_to_keep must be at least 2 to have a fall-back, got {max_to_keep}.")
    self._config = config or {}
    self._folder = pathlib.Path(folder).absolute()
    # What a killed process had not finished goes without a warning.
    options = ocp.CheckpointManagerOptions(
      max_to_keep=max_to_keep, create=True, cleanup_tmp_directories=True
    )
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  def save(self, step: int, state: PyTree) -> None:
    """Saves a state in the background under a step number; an older one of that number goes."""
    if step in self._manager.all_steps():
      self._manager.delete(step)
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(unwrap_keys(state)), config=ocp.args.JsonSave(self._config)
      ),
    )

  def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
    """Restores the newest checkpoint that can be read.

    Args:
      template: a state of the same structure, shapes, dtypes and shardings, such as a fresh one.

    Returns:
      `(step, state)`, or None where there is no checkpoint. Where the newest is corrupt, the one
      before it, with a warning in the log.

    Raises:
      ValueError: if the checkpoint belongs to another configuration.
      RuntimeError: if there are checkpoints and none can be read.
    """
    self._manager.wait_until_finished()
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      try:
        config = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
      except Exception as error:  # orbax raises whatever the broken file provokes
        self._warn(step, error)
        continue
      self._check_config(step, config["config"])
      try:
        restored = self._manager.restore(
          step,
          args=ocp.args.Composite(state=ocp.args.StandardRestore(unwrap_keys(template))),
        )
        return step, wrap_keys(restored["state"], template)
      except Exception as error:
        self._warn(step, error)
    if steps:
      raise RuntimeError(
        f"none of the checkpoints {steps} in {self._folder} can be read; move the folder away to "
        "start anew."
      )
    return None

  def wait(self) -> None:
    """Blocks until what was saved is on disk."""
    self._manager.wait_until_finished()

  def keep_newest(self) -> None:
    """Deletes all checkpoints but the newest, which is enough of a finished run."""
    self.wait()
    for step in sorted(self._manager.all_steps())[:-1]:
      self._manager.delete(step)

  def close(self) -> None:
    """Waits for writes and closes the folder."""
    self._manager.close()

  def __enter__(self) -> Checkpointer:
    return self

  def __exit__(self, *exc: object) -> None:
    self.close()

  def _warn(self, step: int, error: Exception) -> None:
    cause = str(error).split("\n")[0][:200]
    _logger.warning(
      "checkpoint %d in %s cannot be read (%s: %s); falling back to the one before it",
      step,
      self._folder,
      type(error).__name__,
      cause,
    )

  def _check_config(self, step: int, saved: dict[str, Any]) -> None:
    names = sorted(set(saved) | set(self._config))
    missing = object()
    different = [n for n in names if saved.get(n, missing) != self._config.get(n, missing)]
    if different:
      changes = ", ".join(
        f"{n}: {saved.get(n)!r} saved, {self._config.get(n)!r} asked for" for n in different
      )
      raise ValueError(
        f"checkpoint {step} in {self._folder} is of another configuration ({changes}); go on with "
        "the saved one, or choose another --workdir."
      )
