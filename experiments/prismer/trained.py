"""Networks from their folders or from published files, ready to speak."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from experiments.prismer.config import TextOptions
from experiments.prismer.material import Material, read_tables
from experiments.prismer.published import LABELS, config_from, config_of, metadata_of
from experiments.prismer.speaking import Speaker
from experiments.prismer.weights import VOCABULARY, of_training
from experiments.runner import store
from experiments.runner.job import Outcome
from jaxmtl import training
from jaxmtl.data import language
from jaxmtl.models import pretrained, prismer

FEATURES = "features.npz"


@dataclasses.dataclass(frozen=True)
class Network:
  """A network that speaks."""

  speaker: Speaker
  variables: Any
  experts: tuple[str, ...]
  """Whose labels it was trained with."""
  candidates: dict[str, tuple[str, ...]]
  """By task, what was ranked."""
  tasks: tuple[str, ...] = ()
  """What it was trained on, where that is known."""


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
    for name, given in (("vocabulary", text.vocabulary), ("features", features)):
      if given is not None:
        raise ValueError(f"{name} is for a published file; {path} has its own. Leave it out.")
    return _of_folder(path, text, seed, dtype)
  return _of_file(path, text, features, experts, dtype)


def _of_folder(path: pathlib.Path, text: TextOptions, seed: int, dtype: Any) -> Network:
  variables, told = of_training(path, seed)
  model = prismer.Prismer(config_from(told["config"], str(path / store.NETWORK), dtype=dtype))
  tokenizer = language.Tokenizer.read(path / VOCABULARY)
  try:
    with np.load(path / FEATURES, allow_pickle=False) as file:
      tables = {name: file[name] for name in file.files}
  except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"checkpoint: {path / FEATURES} cannot be read ({error}).") from None
  text = dataclasses.replace(text, prefix=told["prefix"])
  speaker = Speaker(model, tokenizer, tables, text, told["question_length"])
  candidates = {task: tuple(texts) for task, texts in told["candidates"].items()}
  tasks = tuple(told.get("tasks", ()))
  return Network(speaker, variables, tuple(told["experts"]), candidates, tasks)


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
  metadata = metadata_of(path)
  config = dataclasses.replace(config_of(state, str(path), metadata), dtype=dtype)
  if tokenizer.size != config.vocab_size:
    raise ValueError(
      f"vocabulary: {text.vocabulary} has {tokenizer.size} pieces, and {path} {config.vocab_size}."
    )
  experts = tuple("seg_coco" if name == "seg" else name for name in config.experts)
  if LABELS in metadata:
    experts = tuple(json.loads(metadata[LABELS]))
  tables = read_tables(experts if given is None else given, features)
  speaker = Speaker(prismer.Prismer(config), tokenizer, tables, text, 0)
  return Network(speaker, prismer.convert(state, config), experts, {})
