"""First weights from a file or another run, for the backbones of all runs."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.runner.config import NetworkOptions
from experiments.runner.job import WEIGHTS
from jaxmtl import models, training

PyTree = Any
_BACKBONE = "backbone"


def first_weights(network: NetworkOptions) -> Callable[[PyTree], PyTree] | None:
  """`variables [runs, ...] -> variables` with the backbone of `network.pretrained`, or None.

  Heads stay as they were initialised.

  Raises:
    ValueError: when called, if the variables have no single backbone, or weights do not fit.
  """
  if network.pretrained is None:
    return None
  path = pathlib.Path(network.pretrained)

  def load(variables: PyTree) -> PyTree:
    if _BACKBONE not in variables["params"]:
      raise ValueError(
        f"pretrained={network.pretrained!r} needs an architecture with one backbone (hps), got "
        f"parameters {', '.join(variables['params'])}."
      )
    if path.is_dir():
      return _of_run(path, variables)
    one = jax.tree.map(lambda leaf: leaf[0], variables)
    loaded = models.load_pretrained(network.backbone, path, one)
    runs = len(jax.tree.leaves(variables)[0])

    def spread(name: str, tree: PyTree) -> PyTree:
      repeat = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * runs), loaded[name])
      return {**tree, _BACKBONE: repeat[_BACKBONE]} if _BACKBONE in tree else tree

    return {name: spread(name, tree) for name, tree in variables.items()}

  return load


def _of_run(folder: pathlib.Path, variables: PyTree) -> PyTree:
  """The backbone of another run of ours, seed by seed, its first seed where it has fewer."""
  saved = training.load_weights(folder / WEIGHTS)

  def take(name: str, tree: PyTree) -> PyTree:
    if _BACKBONE not in tree:
      return tree
    given = saved.get(name, {}).get(_BACKBONE)
    same: Any = jax.tree.structure(tree[_BACKBONE])
    if jax.tree.structure(given) != same:
      raise ValueError(f"the backbone in {folder} is another one; give the same --backbone.")

    def one(old: Any, new: Any) -> Any:
      if new.shape[1:] != old.shape[1:]:
        raise ValueError(
          f"the backbone in {folder} has a weight of shape {new.shape[1:]} where this one has "
          f"{old.shape[1:]}; give the same --width and image size."
        )
      rows = [i if len(new) == len(old) else 0 for i in range(len(old))]
      return np.asarray(new)[rows]

    return {**tree, _BACKBONE: jax.tree.map(one, tree[_BACKBONE], given)}

  return {name: take(name, tree) for name, tree in variables.items()}
