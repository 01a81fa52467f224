"""Checkpoints: orbax behind one class, with checksums, configuration check and fall-back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from jaxmtl._extras import Optional
from jaxmtl._keys import unwrap_keys, wrap_keys
from jaxmtl.training.checksums import described
from jaxmtl.training.differences import differences
from jaxmtl.training.lock import locked

if TYPE_CHECKING:
  import orbax.checkpoint as ocp
else:
  ocp = Optional("orbax.checkpoint", "training", __name__)

PyTree = Any
_logger = logging.getLogger(__name__)
# Beside the state: its configuration, and what its arrays are. Of before: the configuration alone.
_STATE, _ABOUT, _BEFORE = "state", "about", "config"
_SHOWN = 5


class Checkpointer:
  """Saves and restores train states of one run.

  Writes go on in the background; a checkpoint appears only when it is complete. The last
  `max_to_keep` are kept. Each array has a checksum, so that one that changed on disk is not taken
  for what was saved. Other processes are kept out of the folder.

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
    self,
    folder: str | pathlib.Path,
    config: Mapping[str, Any] | None = None,
    max_to_keep: int = 2,
    *,
    defaults: Mapping[str, Any] | None = None,
    read_only: bool = False,
  ):
    """Opens, and creates where missing, the folder.

    Args:
      folder: where checkpoints go, one sub-folder a step.
      config: what must be the same when training goes on, JSON-compatible; stored with each
        checkpoint.
      max_to_keep: how many checkpoints stay; at least 2, so that there is one to fall back to.
      defaults: values that checkpoints without them are taken to have, of options that came later.
      read_only: whether nothing is saved: for a look at another run's folder, in use or not.

    Raises:
      ValueError: if `max_to_keep` is below 2.
      FileNotFoundError: if there is no such folder, and it is only to be read.
      BlockingIOError: if another process has the folder open; it says which one.
    """
    if max_to_keep < 2:
      raise ValueError(f"max_to_keep must be at least 2 to have a fall-back, got {max_to_keep}.")
    self._config = json.loads(json.dumps(config or {}))  # tuples become lists, as in the file
    self._defaults = defaults or {}
    self._folder = pathlib.Path(folder).absolute()
    if read_only and not self._folder.is_dir():
      raise FileNotFoundError(f"there is no folder of checkpoints {str(folder)!r}.")
    self._stack = contextlib.ExitStack()
    if read_only:
      options = ocp.CheckpointManagerOptions(read_only=True)
    else:
      if jax.process_index() == 0:
        self._stack.enter_context(locked(self._folder))
      # What a killed process had not finished goes without a warning.
      options = ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep, create=True, cleanup_tmp_directories=True
      )
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  def save(self, step: int, state: PyTree) -> None:
    """Saves a state in the background under a step number; an older one of that number goes."""
    if step in self._manager.all_steps():
      self._manager.delete(step)
    plain = unwrap_keys(state)
    about = {"config": self._config, "arrays": described(plain)}
    self._manager.save(
      step,
      args=ocp.args.Composite(
        **{
          _STATE: ocp.args.PyTreeSave(plain),
          _ABOUT: ocp.args.JsonSave({**about, "digest": _digest(about)}),
        }
      ),
    )

  def restore(
    self, template: PyTree, *, only: Sequence[str] | None = None
  ) -> tuple[int, PyTree] | None:
    """Restores the newest checkpoint that can be read.

    Args:
      template: a state of the same structure, shapes, dtypes and shardings, such as a fresh one.
      only: fields of the state, such as `("params", "model_state")`, that are taken from the
        checkpoint, whatever its configuration; all others stay the template's, which may be of
        another optimiser or method.

    Returns:
      `(step, state)`, or None where there is no checkpoint. Where the newest is corrupt, the one
      before it, with a warning in the log.

    Raises:
      ValueError: if the checkpoint belongs to another configuration, or holds other arrays than the
        template; it names both.
      RuntimeError: if there are checkpoints and none can be read.
    """
    self._manager.wait_until_finished()
    steps = sorted(self._manager.all_steps(), reverse=True)
    wanted = template if only is None else {name: _field(template, name) for name in only}
    for step in steps:
      try:
        config, arrays = self._about(step)
      except Exception as error:  # orbax raises whatever the broken file provokes
        self._warn(step, error)
        continue
      if only is None:
        self._check_config(step, config)
      if arrays is not None:
        self._check_arrays(step, arrays, wanted, whole=only is None)
      try:
        found = self._read(step, wanted, whole=only is None)
        if arrays is not None:
          _check_sums(arrays, found)
      except Exception as error:
        self._warn(step, error)
        continue
      found = wrap_keys(found, wanted)
      return step, found if only is None else _with_fields(template, found)
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
    with self._stack:
      self._manager.close()

  def __enter__(self) -> Checkpointer:
    return self

  def __exit__(self, *exc: object) -> None:
    self.close()

  def _about(self, step: int) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The configuration of a checkpoint, and its arrays; None of one without checksums."""
    before = (self._folder / str(step) / _BEFORE).is_dir()
    name = _BEFORE if before else _ABOUT
    item = ocp.args.Composite(**{name: ocp.args.JsonRestore()})
    found = self._manager.restore(step, args=item)[name]
    if before:
      return found, None
    about = {key: found[key] for key in ("config", "arrays")}
    if found["digest"] != _digest(about):
      raise OSError("the description of its arrays is not what was saved")
    return about["config"], about["arrays"]

  def _read(self, step: int, wanted: PyTree, *, whole: bool) -> PyTree:
    plain = unwrap_keys(wanted)
    item = ocp.args.PyTreeRestore(
      plain,
      restore_args=ocp.checkpoint_utils.construct_restore_args(plain),
      partial_restore=not whole,
    )
    return self._manager.restore(step, args=ocp.args.Composite(**{_STATE: item}))[_STATE]

  def _warn(self, step: int, error: Exception) -> None:
    cause = str(error).split("\n")[0][:200]
    _logger.warning(
      "checkpoint %d in %s cannot be read (%s: %s); falling back to the one before it",
      step,
      self._folder,
      type(error).__name__,
      cause,
    )

  def _check_config(self, step: int, saved: Mapping[str, Any]) -> None:
    if different := differences(saved, self._config, self._defaults):
      changes = ", ".join(
        f"{n}: {old!r} saved, {new!r} asked for" for n, (old, new) in different.items()
      )
      raise ValueError(
        f"checkpoint {step} in {self._folder} is of another configuration ({changes}); go on with "
        "the saved one, or choose another --workdir."
      )

  def _check_arrays(
    self, step: int, saved: Mapping[str, Any], wanted: PyTree, *, whole: bool
  ) -> None:
    """Raises ValueError unless a template asks for what was saved: orbax casts without a word."""
    asked = described(unwrap_keys(wanted), sums=False)
    names = {**saved, **asked} if whole else asked
    different = [
      f"{name}: {_kind(saved.get(name))} saved, {_kind(asked.get(name))} asked for"
      for name in names
      if _kind(saved.get(name)) != _kind(asked.get(name))
    ]
    if different:
      more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
      mend = "; parameters alone are taken with only=('params', 'model_state')" if whole else ""
      raise ValueError(
        f"checkpoint {step} in {self._folder} holds another state ({'; '.join(different[:_SHOWN])}"
        f"{more}); go on with the same network, optimiser and method{mend}."
      )


def _kind(array: Sequence[Any] | None) -> str:
  return "nothing" if array is None else f"{array[0]}{list(array[1])}"


def _digest(about: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _check_sums(saved: Mapping[str, Any], found: PyTree) -> None:
  """Raises OSError where an array is not what was saved."""
  for name, array in described(found).items():
    if array != list(saved[name]):
      raise OSError(f"{name} is not what was saved: its checksum is another one")


def _field(state: PyTree, name: str) -> PyTree:
  return state[name] if isinstance(state, Mapping) else getattr(state, name)


def _with_fields(state: PyTree, fields: Mapping[str, PyTree]) -> PyTree:
  if isinstance(state, Mapping):
    return {**state, **fields}
  if dataclasses.is_dataclass(state):
    return dataclasses.replace(state, **fields)  # type: ignore[type-var]
  return state._replace(**fields)
