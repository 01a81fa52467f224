"""Data sets in files, in one form: images, captions, questions with answers, classes."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from experiments.prismer.config import Config, DataOptions
from jaxmtl.data import language
from jaxmtl.data.language import CaptionSet, ClassSet, QuestionSet
from jaxmtl.data.language.own_captions import Part

PARTS: tuple[Part, ...] = ("train", "validation", "test")
_PEOPLE = "v2_mscoco_val2014_annotations.json"


@dataclasses.dataclass(frozen=True)
class Test:
  """What a network is asked after training."""

  rows: np.ndarray
  """The image of each, int `[P]`."""
  questions: tuple[str, ...] = ()
  """In words; none for captions and classes."""
  references: tuple[tuple[str, ...], ...] = ()
  """Right texts of each; none where they are not known."""
  ids: tuple[Any, ...] = ()
  """Of images or questions, for files of results."""
  kinds: tuple[str, ...] = ()
  """What each question asks for; none where that is not known."""


@dataclasses.dataclass(frozen=True)
class Set:
  """A part of a data set."""

  names: tuple[str, ...]
  """Of the images, each once."""
  paths: tuple[pathlib.Path, ...] = ()
  """Of their files; none where they are made up."""
  images: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  """Where they are made up."""
  captions: tuple[Any, tuple[str, ...]] = ((), ())
  """The image of each, and the captions."""
  questions: tuple[str, ...] = ()
  """With their answers."""
  answers: tuple[str, ...] = ()
  """One each."""
  asked: Any = ()
  """The image of each question."""
  weights: np.ndarray | None = None
  """Of the answers."""
  labels: Any = ()
  """Numbers of classes."""
  classes: tuple[str, ...] = ()
  """Their names."""
  tests: Mapping[str, Test] = dataclasses.field(default_factory=dict)
  """By task, of the part "test"."""
  candidates: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  """By task, what is ranked."""

  def __len__(self) -> int:
    return len(self.names)

  @property
  def has_texts(self) -> bool:
    """Whether there is something to learn from, or to measure a loss of."""
    return bool(len(self.captions[1]) or self.questions or len(self.labels))

  def repeated(self, rows: np.ndarray) -> Set:
    """Images again and again, without their texts."""
    paths = tuple(self.paths[i] for i in rows)
    return Set(tuple(self.names[i] for i in rows), paths)


def read_sets(config: Config) -> dict[str, Set]:
  """The parts of a data set in files: "train", and "validation" and "test" where there are some.

  Args:
    config: the options.

  Raises:
    OSError: naming what is not there.
    ValueError: naming file and entry, if one does not fit.
  """
  options = config.data
  if options.dataset == "vqav2":
    return _questions(options)
  if options.dataset == "imagenet":
    return _classes(options)
  return _captions(options)


def _captions(options: DataOptions) -> dict[str, Set]:
  root = pathlib.Path(options.data_dir or ".").expanduser()
  parts: dict[str, CaptionSet | None] = {}
  if options.dataset == "karpathy":
    file = karpathy_file(root)
    parts = {part: language.read_karpathy(file, part) for part in PARTS}
  elif options.dataset == "coco":
    parts = {
      "train": language.read_coco_captions(root, "train"),
      "test": language.read_coco_captions(root, "test"),
    }
  elif options.dataset == "pretrain":
    parts = {"train": language.join_captions(_read(name, root) for name in options.pretraining)}
  else:
    images = options.data_dir
    parts = {part: _part(options.dataset, part, images) for part in PARTS}
  whole, validation, test = (parts.get(part) for part in PARTS)
  if whole is None:
    raise ValueError(f"{options.dataset} has no caption in the part train.")
  train = _first(whole, options.train_images)
  if validation is not None:
    validation = _first(validation, options.validation_images)
  elif options.validation_images:
    train, validation = _apart(train, options.validation_images)
  found = {"train": train, "validation": validation, "test": test}
  if test is not None:
    found["test"] = _first(test, options.test_images)
  return {name: _of_captions(one) for name, one in found.items() if one is not None}


def _read(name: Literal["coco", "vg", "cc12m", "cc3m_sgu"], root: pathlib.Path) -> CaptionSet:
  """A set of pre-training."""
  if name == "coco":
    return language.read_coco_captions(root)
  if name == "vg":
    return language.read_genome_captions(root)
  return language.read_conceptual_captions(root, name)


def karpathy_file(root: pathlib.Path) -> pathlib.Path:
  """The one file `dataset_*.json` of a folder."""
  files = sorted(root.glob("dataset_*.json"))
  if len(files) != 1:
    there = ", ".join(file.name for file in files) or "none"
    raise FileNotFoundError(f"{root} must have one file dataset_*.json, got {there}.")
  return files[0]


def _part(table: str, part: Part, images: str | None) -> CaptionSet | None:
  try:
    return language.read_captions(table, part, images)
  except ValueError as error:
    if "has no caption" in str(error) and part != "train":
      return None
    raise


def _first(captions: CaptionSet, most: int) -> CaptionSet:
  return captions.subset(range(most)) if 0 < most < len(captions) else captions


def _apart(captions: CaptionSet, count: int) -> tuple[CaptionSet, CaptionSet]:
  """The last images for measuring while training."""
  left = len(captions) - count
  if left < 1:
    raise ValueError(f"validation_images must leave some of {len(captions)} images, got {count}.")
  return captions.subset(range(left)), captions.subset(range(left, len(captions)))


def _of_captions(found: CaptionSet) -> Set:
  rows, texts = found.pairs()
  known = len(texts) > 0
  test = Test(np.arange(len(found)), references=found.captions if known else (), ids=found.ids)
  return Set(found.names, found.paths, captions=(rows, tuple(texts)), tests={"caption": test})


def _questions(options: DataOptions) -> dict[str, Set]:
  root = pathlib.Path(options.data_dir or ".").expanduser()
  whole = language.read_vqa_train(root, genome=(root / "vg_qa.json").is_file())
  test = language.read_vqa_test(root)
  candidates = {"vqa": language.read_answer_list(root / "answer_list.json")}
  names = list(dict.fromkeys(whole.names))
  kept = names[: options.train_images] if options.train_images else names
  apart = set(kept[len(kept) - options.validation_images :] if options.validation_images else ())
  if len(apart) == len(kept):
    raise ValueError(
      f"validation_images must leave some of {len(kept)} images, got {options.validation_images}."
    )
  rows: dict[str, list[int]] = {"train": [], "validation": []}
  some = set(kept)
  for i, name in enumerate(whole.names):
    if name in some:
      rows["validation" if name in apart else "train"].append(i)
  parts = {part: whole.subset(chosen) for part, chosen in rows.items() if chosen}
  first = dict.fromkeys(test.names)
  if 0 < options.test_images < len(first):
    shown = set(list(first)[: options.test_images])
    test = test.subset([i for i, name in enumerate(test.names) if name in shown])
  found = {part: _of_questions(one, candidates) for part, one in parts.items()}
  people = root / _PEOPLE
  told = language.read_vqa_answers(people) if people.is_file() else {}
  found["test"] = _of_questions(test, candidates, told)
  return found


def _of_questions(
  asked: QuestionSet,
  candidates: Mapping[str, tuple[str, ...]],
  told: Mapping[int, tuple[str, ...]] | None = None,
) -> Set:
  """Images once each, and their questions."""
  number = {name: i for i, name in enumerate(dict.fromkeys(asked.names))}
  paths = dict(zip(asked.names, asked.paths, strict=True))
  rows = np.array([number[name] for name in asked.names])
  ids = asked.ids or ()
  known = bool(told) and all(i in (told or {}) for i in ids)
  references = tuple((told or {})[i] for i in ids) if known else ()
  tests = {} if told is None else {"vqa": Test(rows, asked.questions, references, ids)}
  return Set(
    tuple(number),
    tuple(paths[name] for name in number),
    questions=asked.questions if asked.answers is not None else (),
    answers=asked.answers or (),
    asked=rows,
    weights=asked.weights,
    tests=tests,
    candidates=candidates,
  )


def _classes(options: DataOptions) -> dict[str, Set]:
  root = pathlib.Path(options.data_dir or ".").expanduser()
  train = language.read_imagenet(root, "train", shots=options.shots)
  test = language.read_imagenet(root, "test")
  order = np.random.default_rng(0).permutation(len(test))
  rows = np.sort(order[: options.test_images]) if options.test_images else np.arange(len(test))
  return {"train": _of_classes(train, np.arange(len(train))), "test": _of_classes(test, rows)}


def _of_classes(found: ClassSet, rows: np.ndarray) -> Set:
  names = tuple(found.names[i] for i in rows)
  labels = found.labels[rows]
  references = tuple((found.classes[i],) for i in labels)
  return Set(
    names,
    tuple(found.paths[i] for i in rows),
    labels=labels,
    classes=found.classes,
    tests={"classify": Test(np.arange(len(rows)), references=references, ids=names)},
    candidates={"classify": found.classes},
  )
