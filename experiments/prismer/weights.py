"""Weights that trainings start from: of published files, of backbones, of trainings of ours."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from experiments.prismer.config import NetworkOptions
from experiments.prismer.published import PRISMER, config_from, config_of, metadata_of
from experiments.runner import store
from experiments.runner.job import WEIGHTS
from jaxmtl import training
from jaxmtl.models import pretrained, prismer
from jaxmtl.models.prismer.convert import shapes

PyTree = Any
VOCABULARY = "vocabulary"
"""The folder with a training's vocabulary, beside its weights."""
# Options on which the shapes of tensors depend; positions of another image size are resized.
_SIZES = ("patch_size", "vision_width", "vision_layers", "text_width", "text_layers")
_MORE_SIZES = ("text_mlp_width", "experts", "vocab_size", "max_positions", "adaptors")
_OF_EXPERTS = ("resampler_layers", "resampler_latents")
_HEADS = ("vision_heads", "text_heads", "resampler_heads")


def first_weights(
  options: NetworkOptions, config: prismer.Config
) -> Callable[[PyTree], PyTree] | None:
  """What makes a job's first variables, leading axis runs, into those of a file; None without one.

  Args:
    options: which files.
    config: of the network.

  Raises:
    OSError: if a file is not there.
    ValueError: naming it, if weights do not fit.
  """
  if options.checkpoint is None and options.clip is None:
    return None
  clip, roberta = (pathlib.Path(f or ".").expanduser() for f in (options.clip, options.roberta))
  new = functools.partial(prismer.from_backbones, clip, roberta, config)
  # Files are looked at before anything is compiled or written, and read again when they are needed.
  if options.checkpoint is not None:
    read(options.checkpoint, config)
  else:
    jax.eval_shape(new, jax.random.key(0))

  def weights(variables: PyTree) -> PyTree:
    runs = len(jax.tree.leaves(variables)[0])
    if options.checkpoint is not None:
      found = [read(options.checkpoint, config)] * runs
    else:
      found = [new(key) for key in jax.random.split(jax.random.key(0), runs)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

  return weights


def read(path: str, config: prismer.Config) -> dict[str, Any]:
  """Variables of a published file, or of the first seed of a training of ours.

  Args:
    path: of the file, or the folder.
    config: of the network. Images may have another size.

  Raises:
    OSError: if it is not there.
    ValueError: naming it, if weights do not fit.
  """
  place = pathlib.Path(path).expanduser()
  if place.is_dir():
    variables, told = of_training(place)
    state, theirs, known = prismer.to_published(variables), prismer.Config(**told["config"]), True
  else:
    state, metadata = pretrained.read_checkpoint(place), metadata_of(place)
    theirs, known = config_of(state, str(place), metadata), PRISMER in metadata
  if other := list(_differences(theirs, config, known)):
    hint = "; name its --vocabulary" if any("vocab_size" in one for one in other) else ""
    raise ValueError(f"checkpoint: {place} is of another network: {', '.join(other)}{hint}.")
  return prismer.convert(state, config)


def _differences(theirs: prismer.Config, ours: prismer.Config, known: bool) -> Iterator[str]:
  """In which options two networks differ; heads only where they are known."""
  names = [*_SIZES, *_MORE_SIZES]
  names += [*(_OF_EXPERTS if theirs.experts and ours.experts else ()), *(_HEADS if known else ())]
  for name in names:
    there, here = getattr(theirs, name), getattr(ours, name)
    if there != here and not (name == "resampler_heads" and not ours.experts):
      if name == "experts":
        there, here = (", ".join(found) or "none" for found in (there, here))
      yield f"{name} is {there} there and {here} here"


def of_training(place: pathlib.Path, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
  """A run's variables, and what describes its network, of a finished training of ours.

  Args:
    place: its folder.
    seed: which of the runs, from 0.

  Raises:
    FileNotFoundError: if there is none.
    ValueError: naming the folder, if it is another network's or has no such run.
  """
  told = described(place)
  saved = training.load_weights(place / WEIGHTS)
  runs = len(jax.tree.leaves(saved)[0])
  if not 0 <= seed < runs:
    raise ValueError(f"seed must be from 0 to {runs - 1}, the runs of {place}, got {seed}.")
  variables = jax.tree.map(lambda leaf: np.asarray(leaf[seed]), saved)
  config = config_from(told.get("config"), str(place / store.NETWORK))
  _check_fits(str(place / WEIGHTS), variables, config)
  return variables, told


def described(place: pathlib.Path) -> dict[str, Any]:
  """What describes the network of a finished training of ours.

  Raises:
    FileNotFoundError: if there is none; naming trainings in the folder, if there are some.
    ValueError: naming the folder, if it is another network's.
  """
  told = store.read_json(place / store.NETWORK)
  if not isinstance(told, dict) or not (place / WEIGHTS).is_file():
    inside = sorted(found.parent.name for found in place.glob(f"*/{WEIGHTS}"))
    mend = f"; name one of its trainings, {', '.join(inside)}" if inside else ""
    raise FileNotFoundError(f"{place} is no finished training of Prismer{mend}.")
  if told.get("model") != PRISMER:
    raise ValueError(f"{place} is a training of another network than Prismer.")
  lacking = {"prefix", "question_length", "candidates", "experts"} - set(told)
  if lacking:
    raise ValueError(f"checkpoint: {place / store.NETWORK} lacks {', '.join(sorted(lacking))}.")
  return dict(told)


def _check_fits(what: str, variables: dict[str, Any], config: prismer.Config) -> None:
  wanted = {key: leaf.shape for key, leaf in shapes(config).items()}
  there = {key: np.shape(leaf) for key, leaf in traverse_util.flatten_dict(variables).items()}
  for key in dict.fromkeys((*wanted, *there)):
    if wanted.get(key) != there.get(key):
      raise ValueError(
        f"{what} does not fit the network: {'/'.join(key)} is {there.get(key, 'not there')}, "
        f"needed {wanted.get(key, 'none')}."
      )
