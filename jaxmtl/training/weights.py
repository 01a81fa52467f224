"""Weights alone in a file: what is left of a network when training is over."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._files import replacing
from jaxmtl.training.checksums import checksum

if TYPE_CHECKING:
  import safetensors
  import safetensors.flax as tensors
else:
  safetensors = Optional("safetensors", "training", __name__)
  tensors = Optional("safetensors.flax", "training", __name__)

PyTree = Any
_ABOUT, _NOTES, _SUMS = "about", "notes", "checksums"


def save_weights(path: str | pathlib.Path, variables: PyTree, **notes: Any) -> None:
  """Saves nested dicts of arrays, such as a network's variables, as one safetensors file.

  The file appears only when it is complete; one that is there already is replaced at once.

  Args:
    path: of the file.
    variables: nested dicts of arrays of any shape and dtype; empty dicts are left out.
    **notes: numbers, strings or lists that are kept with them, see `read_notes`.

  Raises:
    ValueError: if a name is no string, or has a slash, with which the levels are joined.
    OSError: if the file cannot be written.

  Example:
    >>> import tempfile, jax.numpy as jnp
    >>> from jaxmtl.training import load_weights, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   save_weights(f"{folder}/a.safetensors", {"params": {"w": jnp.ones(2)}})
    ...   load_weights(f"{folder}/a.safetensors")
    {'params': {'w': Array([1., 1.], dtype=float32)}}
  """
  flat = {}
  for keys, leaf in jax.tree_util.tree_leaves_with_path(variables):
    names = [getattr(key, "key", None) for key in keys]
    if not names or not all(isinstance(name, str) and "/" not in name for name in names):
      raise ValueError(
        "variables must be nested dicts whose names are strings without a slash, got "
        f"{jax.tree_util.keystr(keys)}."
      )
    flat["/".join(map(str, names))] = jnp.asarray(np.asarray(leaf))
  with replacing(path) as draft:
    try:
      sums = {name: checksum(leaf) for name, leaf in flat.items()}
      # One entry: several have no order, and the same weights would be another file.
      about = json.dumps({_NOTES: notes, _SUMS: sums})
      tensors.save_file(flat, draft, {_ABOUT: about})
    except safetensors.SafetensorError as error:
      raise OSError(f"{path} cannot be written: {error}") from error


def load_weights(path: str | pathlib.Path) -> dict[str, Any]:
  """Loads what `save_weights` saved; nothing but the file is needed.

  Args:
    path: of the file.

  Returns:
    Nested dicts of arrays.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is no safetensors file, not complete, has changed since it was saved, or has
      types or names that do not fit.
  """
  sums = _metadata(path, _SUMS)
  try:
    flat = tensors.load_file(path)
  except (AttributeError, KeyError) as error:  # what it has no NumPy type for, such as float8
    raise ValueError(
      f"{path} has arrays of a type that is not read ({error}); save them as bfloat16 or float32."
    ) from None
  if changed := [name for name in sums if name not in flat or checksum(flat[name]) != sums[name]]:
    raise ValueError(
      f"{path} is damaged: {changed[0]} is not what was saved, its checksum is another one; get "
      "the file again, or train anew."
    )
  nested: dict[str, Any] = {}
  for name, leaf in flat.items():
    *levels, last = name.split("/")
    place = nested
    for level in levels:
      place = place.setdefault(level, {})
      if not isinstance(place, dict):
        raise ValueError(f"{path} has an array {name!r}, and one where {level!r} is a group.")
    place[last] = leaf
  return nested


def read_notes(path: str | pathlib.Path) -> dict[str, Any]:
  """The notes that `save_weights` kept with the weights; errors as `load_weights`'."""
  return _metadata(path, _NOTES)


def _metadata(path: str | pathlib.Path, name: str) -> dict[str, Any]:
  try:
    with safetensors.safe_open(path, "numpy") as file:
      entries = file.metadata() or {}
    # Files of before have notes alone.
    about = json.loads(entries.get(_ABOUT, f'{{"{_NOTES}": {entries.get(_NOTES, "{}")}}}'))
    return about.get(name, {})
  except (safetensors.SafetensorError, json.JSONDecodeError) as error:
    raise ValueError(f"{path} is not a complete file of weights: {error}.") from error
