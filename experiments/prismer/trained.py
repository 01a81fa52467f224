"""Networks from their folders or from published files, ready to speak."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile
import zlib
from typing import Any

import jax
import numpy as np

from experiments.prismer.config import TextOptions
from experiments.prismer.material import Material, read_tables
from experiments.prismer.published import PRISMER, config_from, config_of, metadata_of
from experiments.prismer.speaking import Speaker
from experiments.prismer.weights import fitted
from experiments.runner import store
from experiments.runner.job import WEIGHTS, Outcome
from jaxmtl import training
from jaxmtl.data import language
from jaxmtl.models import pretrained, prismer

VOCABULARY, FEATURES = "vocabulary", "features.npz"


@dataclasses.dataclass(frozen=True)
class Network:
  """A network that speaks."""

  speaker: Speaker
  variables: Any
  experts: tuple[str, ...]
  """Whose labels it was trained with."""
  candidates: dict[str, tuple[str, ...]]
  """By task, what was ranked."""


def keep(outcome: Outcome, material: Material) -> None:
  """Writes beside the weights what else the network needs: its vocabulary and features."""
  home = outcome.folder
  if not (home / FEATURES).exists():
    material.tokenizer.save(home / VOCABULARY)
    with training.replacing(home / FEATURES) as draft, draft.open("wb") as opened:
      np.savez(opened, **material.tables)  # type: ignore[arg-type]


def load(
  checkpoint: str,
  text: TextOptions,
  *,
  seed: int = 0,
  features: str | None = None,
  experts: tuple[str, ...] | None = None,
  dtype: Any = None,
) -> Network:
  """A network of a training's folder, or of a published file.

  Args:
    checkpoint: the folder, or the file.
    text: how texts are made; a published file needs its vocabulary, and a folder has its prefix.
    seed: which of the folder's runs, from 0.
    features: folder with the classes' features of a published file.
    experts: whose labels there are; all where None.
    dtype: of the computation.

  Raises:
    OSError: naming what is not there.
    ValueError: naming what does not fit.
  """
  path = pathlib.Path(checkpoint).expanduser()
  if not path.exists():
    raise FileNotFoundError(f"checkpoint: there is no {path}.")
  if path.is_dir():
    return _of_folder(path, text, seed, dtype)
  return _of_file(path, text, features, experts, dtype)


def _of_folder(path: pathlib.Path, text: TextOptions, seed: int, dtype: Any) -> Network:
  described = store.read_json(path / store.NETWORK)
  if not isinstance(described, dict) or not (path / WEIGHTS).is_file():
    inside = sorted(found.parent.name for found in path.glob(f"*/{WEIGHTS}"))
    mend = f"; name one of its trainings, {', '.join(inside)}" if inside else ""
    raise FileNotFoundError(f"checkpoint: {path} is no finished training of Prismer{mend}.")
  if described.get("model") != PRISMER:
    raise ValueError(f"checkpoint: {path} is a training of another network than Prismer.")
  network = str(path / store.NETWORK)
  lacking = {"prefix", "question_length", "candidates", "experts"} - set(described)
  if lacking:
    raise ValueError(f"checkpoint: {network} lacks {', '.join(sorted(lacking))}.")
  model = prismer.Prismer(config_from(described.get("config"), network, dtype=dtype))
  saved = training.load_weights(path / WEIGHTS)
  runs = len(jax.tree.leaves(saved)[0])
  if not 0 <= seed < runs:
    raise ValueError(f"seed must be from 0 to {runs - 1}, the runs of {path}, got {seed}.")
  variables = jax.tree.map(lambda leaf: leaf[seed], saved)
  fitted(str(path / WEIGHTS), variables, model.config)
  tokenizer = language.Tokenizer.read(path / VOCABULARY)
  try:
    with np.load(path / FEATURES, allow_pickle=False) as file:
      tables = {name: file[name] for name in file.files}
  except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"checkpoint: {path / FEATURES} cannot be read ({error}).") from None
  text = dataclasses.replace(text, prefix=described["prefix"])
  speaker = Speaker(model, tokenizer, tables, text, described["question_length"])
  candidates = {task: tuple(texts) for task, texts in described["candidates"].items()}
  return Network(speaker, variables, tuple(described["experts"]), candidates)


def _of_file(
  path: pathlib.Path,
  text: TextOptions,
  features: str | None,
  given: tuple[str, ...] | None,
  dtype: Any,
) -> Network:
  if text.vocabulary is None:
    raise ValueError(
      f"vocabulary must name the folder with vocab.json and merges.txt of {path}, RoBERTa's."
    )
  tokenizer = language.Tokenizer.read(text.vocabulary)
  state = pretrained.read_checkpoint(path)
  config = dataclasses.replace(config_of(state, str(path), metadata_of(path)), dtype=dtype)
  if tokenizer.size != config.vocab_size:
    raise ValueError(
      f"vocabulary: {text.vocabulary} has {tokenizer.size} pieces, and {path} {config.vocab_size}."
    )
  experts = tuple("seg_coco" if name == "seg" else name for name in config.experts)
  tables = read_tables(experts if given is None else given, features)
  speaker = Speaker(prismer.Prismer(config), tokenizer, tables, text, 0)
  return Network(speaker, prismer.convert(state, config), experts, {})
