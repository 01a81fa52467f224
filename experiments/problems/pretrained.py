"""First weights from a file or another run, for the backbones of all runs."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.config import NetworkOptions
from experiments.runner.job import WEIGHTS
from experiments.runner.store import JOB
from jaxmtl import models, training

PyTree = Any
_BACKBONE = "backbone"
# First words of the names of what is a backbone, or one of several copies of it.
_COPIES = (_BACKBONE, "experts", "trunks", "own")
# All else among a network's variables is no part of a backbone.
_COLLECTIONS = ("params", "batch_stats")


def first_weights(
  network: NetworkOptions, shape: tuple[int, ...]
) -> Callable[[PyTree], PyTree] | None:
  """`variables [runs, ...] -> variables` with the backbone of `network.pretrained`, or None.

  Every copy of the backbone starts from it, where an architecture has several. Heads, gates and
  all else stay as they were initialised.

  Args:
    network: the backbone, and where its weights are.
    shape: of an image, by which it is seen at once whether they fit.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if images or file do not fit the backbone; when called, if the network has none.
  """
  try:
    shapes = jax.eval_shape(network.build().init, jax.random.key(0), jnp.zeros((2, *shape)))
  except ValueError as error:
    height, width, *_ = shape
    raise ValueError(
      f"backbone {network.backbone} does not take images of {height}x{width} ({error}); give "
      "another --backbone or --image-size."
    ) from None
  if network.pretrained is None:
    return None
  path = pathlib.Path(network.pretrained)
  if path.name == WEIGHTS and (path.parent / JOB).exists():
    path = path.parent
  given = _Run(path) if path.is_dir() else _File(network.backbone, path)
  given.check(shapes)

  def load(variables: PyTree) -> PyTree:
    names = [name for name in variables["params"] if name.split("_")[0] in _COPIES]
    if not names:
      raise ValueError(
        f"pretrained={network.pretrained!r} needs a network with a backbone, got parameters "
        f"{', '.join(variables['params'])}."
      )
    own = {name: tree for name, tree in variables.items() if name in _COLLECTIONS}
    for name in names:
      copy = {collection: tree[name] for collection, tree in own.items() if name in tree}
      loaded = given.load(name, copy)
      own |= {collection: {**own[collection], name: tree} for collection, tree in loaded.items()}
    return {**variables, **own}

  return load


class _File:
  """A file of torchvision or timm: all runs start alike."""

  def __init__(self, backbone: str, path: pathlib.Path):
    self._backbone, self._path = backbone, path

  def check(self, shapes: PyTree) -> None:
    self._read(shapes)

  def load(self, name: str, variables: PyTree) -> PyTree:
    """The variables of a copy, `[runs, ...]`."""
    del name
    runs = len(jax.tree.leaves(variables)[0])
    found = self._read(jax.tree.map(lambda leaf: leaf[0], variables))
    return jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * runs), found)

  def _read(self, variables: PyTree) -> PyTree:
    try:
      return models.load_pretrained(self._backbone, self._path, variables)
    except ValueError as error:
      raise ValueError(f"pretrained: {error}") from None


class _Run:
  """Another run of ours: seed by seed, or its first seed where there are not as many."""

  def __init__(self, folder: pathlib.Path):
    self._folder, self._saved = folder, training.load_weights(folder / WEIGHTS)

  def check(self, shapes: PyTree) -> None:
    if _BACKBONE in self._saved["params"]:
      of_runs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), float), shapes)
      self._fitting(_BACKBONE, {n: tree for n, tree in of_runs.items() if n in _COLLECTIONS})

  def load(self, name: str, variables: PyTree) -> PyTree:
    """The variables of a copy, `[runs, ...]`: those of its name, or of the one backbone."""
    name = name if name in self._saved["params"] else _BACKBONE

    def one(old: Any, new: Any) -> Any:
      rows = [i if len(new) == len(old) else 0 for i in range(len(old))]
      return np.asarray(new)[rows]

    return jax.tree.map(one, variables, self._fitting(name, variables))

  def _fitting(self, name: str, wanted: PyTree) -> PyTree:
    """What the run has for such variables; raises ValueError where it is something else."""
    saved: dict[str, Any] = self._saved
    found = {c: saved[c][name] for c in wanted if name in saved.get(c, {})}
    same: Any = jax.tree.structure(wanted)
    if jax.tree.structure(found) != same:
      raise ValueError(
        f"pretrained: the network in {self._folder} has another backbone, or none of its own; give "
        "the same --backbone."
      )
    for old, new in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
      if new.shape[1:] != old.shape[1:]:
        raise ValueError(
          f"pretrained: the backbone in {self._folder} has a weight of shape {new.shape[1:]} where "
          f"this one has {old.shape[1:]}; give the same --width, image size and colours."
        )
    return found
