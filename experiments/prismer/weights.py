"""Weights that trainings start from: of published files, of backbones, of trainings of ours."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from experiments.prismer.config import NetworkOptions
from experiments.runner.job import WEIGHTS
from jaxmtl import training
from jaxmtl.models import prismer
from jaxmtl.models.prismer.convert import shapes

PyTree = Any


def first_weights(
  options: NetworkOptions, config: prismer.Config
) -> Callable[[PyTree], PyTree] | None:
  """What makes a job's first variables, leading axis runs, into those of a file; None without one.

  Args:
    options: which files.
    config: of the network.
  """
  if options.checkpoint is None and options.clip is None:
    return None

  def weights(variables: PyTree) -> PyTree:
    runs = len(jax.tree.leaves(variables)[0])
    if options.checkpoint is not None:
      found = [read(options.checkpoint, config)] * runs
    else:
      clip, roberta = str(options.clip), str(options.roberta)
      keys = jax.random.split(jax.random.key(0), runs)
      found = [prismer.from_backbones(clip, roberta, config, key) for key in keys]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

  return weights


def read(path: str, config: prismer.Config) -> dict[str, Any]:
  """Variables of a published file, or of the first seed of a training of ours.

  Args:
    path: of the file, or the folder.
    config: of the network.

  Raises:
    OSError: if it is not there.
    ValueError: naming it, if weights do not fit.
  """
  place = pathlib.Path(path).expanduser()
  if not place.is_dir():
    return prismer.convert(place, config)
  file = place / WEIGHTS
  if not file.is_file():
    inside = sorted(found.parent.name for found in place.glob(f"*/{WEIGHTS}"))
    mend = f"; name one of its trainings, {', '.join(inside)}" if inside else ""
    raise FileNotFoundError(
      f"checkpoint: {place} is no finished training, which has {WEIGHTS}{mend}."
    )
  variables = jax.tree.map(lambda leaf: np.asarray(leaf[0]), training.load_weights(file))
  return fitted(str(file), variables, config)


def fitted(what: str, variables: dict[str, Any], config: prismer.Config) -> dict[str, Any]:
  """Variables, once their shapes are known to be those of a network.

  Args:
    what: where they are from, for messages.
    variables: by collection.
    config: of the network.

  Raises:
    ValueError: naming the first that does not fit.
  """
  wanted = {key: leaf.shape for key, leaf in shapes(config).items()}
  there = {key: np.shape(leaf) for key, leaf in traverse_util.flatten_dict(variables).items()}
  for key in dict.fromkeys((*wanted, *there)):
    if wanted.get(key) != there.get(key):
      raise ValueError(
        f"{what} does not fit the network: {'/'.join(key)} is {there.get(key, 'not there')}, "
        f"needed {wanted.get(key, 'none')}."
      )
  return variables
