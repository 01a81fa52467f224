"""What is learned from and measured on: scenes, made up, or files in the forms of data sets."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.prismer.config import SCENES, Config
from experiments.prismer.sets import PARTS, Set, Test, read_sets
from experiments.prismer.texts import Pairs, Texts, by_image, each, one_each
from experiments.prismer.weights import VOCABULARY, described
from experiments.runner.mesh import warnings_said
from jaxmtl import data
from jaxmtl.data import experts as labels
from jaxmtl.data import language

# Of read images over the network's: room for crops, as 256 to 224.
_ROOM = 8 / 7
# Bytes of all parts that are kept in memory, and on the devices; larger sets are read in turn.
_IN_MEMORY = 2**29
CLASSES = {"seg_coco": 133, "seg_ade": 150, "obj_detection": 722}
"""Of published labels."""


class Material(NamedTuple):
  """Data of an experiment.

  Attributes:
    train: arrays by name with leading axis images; or a source of examples, one a text.
    parts: "validation" and "test" in the same form, one text an image; where they are there.
    images: of the test part, each once: arrays by name, or `ExpertFiles`.
    tests: by task.
    tokenizer: of all texts.
    tables: features of classes by expert.
    experts: whose labels there are.
    candidates: by task the answers or classes that are ranked.
    question_length: to which questions are padded.
    in_memory: whether train is arrays.
    identity: what it depends on.
  """

  train: Any
  parts: dict[str, Any]
  images: Any
  tests: dict[str, Test]
  tokenizer: language.Tokenizer
  tables: dict[str, np.ndarray]
  experts: tuple[str, ...]
  candidates: dict[str, tuple[str, ...]]
  question_length: int
  in_memory: bool
  identity: dict[str, Any]


def load(config: Config) -> Material:
  """Reads or draws all data.

  Args:
    config: the options.

  Raises:
    OSError: naming a file or folder that is not there.
    ValueError: naming a file or option that does not fit.
  """
  made_up = config.data.dataset == SCENES
  sets = _scenes(config) if made_up else read_sets(config)
  train = sets["train"]
  tokenizer = _tokenizer(config, sets)
  _check_room(config, tokenizer)
  with warnings_said():
    targets, length = _targets(config, tokenizer, {n: s for n, s in sets.items() if s.has_texts})
  tables = (
    data.scene_features() if made_up else read_tables(config.data.experts, config.data.features)
  )
  examples: dict[str, Any] = {name: one.images for name, one in sets.items()}
  arrays: dict[str, Any] = {}
  in_memory = True
  if not made_up:
    files = {n: _files(config, one, tables) for n, one in sets.items()}
    pixels = sum(len(f) * (3 + 2 * len(config.data.experts)) for f in files.values())
    in_memory = pixels * _side(config) ** 2 <= _IN_MEMORY
    examples = {name: one.load() if in_memory else one for name, one in files.items()}
  for name, one in sets.items():
    if not one.has_texts:
      continue
    if in_memory:
      form = by_image if name == "train" else one_each
      arrays[name] = dict(examples[name])
      for task, texts in targets[name].items():
        arrays[name] |= form(task, texts, len(one))
    else:
      ((task, texts),) = targets[name].items()
      if name == "train":
        again = _files(config, one.repeated(texts.rows), tables)
        arrays[name] = Pairs(again, each(task, texts))
      else:
        arrays[name] = Pairs(examples[name], one_each(task, texts, len(one)))
  found = examples.get("test", examples["train"])
  return Material(
    train=arrays.pop("train"),
    parts=arrays,
    images=found,
    tests=dict(sets["test"].tests) if "test" in sets else {},
    tokenizer=tokenizer,
    tables=tables,
    experts=config.data.experts,
    candidates=dict(train.candidates),
    question_length=length,
    in_memory=in_memory,
    identity={
      "dataset": config.data.dataset,
      "data_seed": config.run.seed if made_up else None,
      "tokenizer": tokenizer.fingerprint(),
      "side": _side(config),
    },
  )


def _side(config: Config) -> int:
  """Height and width to which images are read."""
  size = config.network.image_size
  return size if config.data.dataset == SCENES else round(size * _ROOM)


def _files(config: Config, one: Set, tables: Mapping[str, np.ndarray]) -> labels.ExpertFiles:
  options = config.data
  wanted = options.experts if options.labels is not None else ()
  root = pathlib.Path(options.labels or ".").expanduser()
  parts = {name.partition("/")[0] for name in one.names}
  lacking = [
    (e, root / e / part) for e in wanted for part in parts if not (root / e / part).is_dir()
  ]
  if lacking and root.is_dir():
    # Left out, it would be an expert that the network never sees.
    raise FileNotFoundError(
      f"labels: there is no folder {lacking[0][1]}; python -m experiments.prismer experts writes "
      f"it, or leave {lacking[0][0]} out of --experts."
    )
  return labels.ExpertFiles(
    one.names, one.paths, options.labels, wanted, side=_side(config), tables=tables
  )


def _scenes(config: Config) -> dict[str, Set]:
  options = config.data
  found: dict[str, Set] = {}
  counts = (options.train_images, options.validation_images, options.test_images)
  for part, count in zip(PARTS, counts, strict=True):
    made = data.captioned_scenes(
      count, config.network.image_size, config.run.seed, part=part, most=options.most_digits
    )
    kept = ("rgb", *(k for k in made.examples if k.startswith(options.experts or ("rgb",))))
    asked = made.questions
    rows = np.repeat(np.arange(count), [len(texts) for texts in made.captions])
    found[part] = Set(
      names=tuple(map(str, range(count))),
      paths=(),
      images={name: made.examples[name] for name in dict.fromkeys(kept)},
      captions=(rows, tuple(text for texts in made.captions for text in texts)),
      questions=tuple(q.question for q in asked),
      answers=tuple(q.answer for q in asked),
      asked=np.array([q.image for q in asked]),
      tests={
        "caption": Test(np.arange(count), references=made.captions, ids=tuple(range(count))),
        "vqa": Test(
          np.array([q.image for q in asked]),
          tuple(q.question for q in asked),
          tuple((q.answer,) for q in asked),
          tuple(range(len(asked))),
          tuple(q.kind for q in asked),
        ),
      },
      candidates={"vqa": tuple(sorted({q.answer for q in asked}))},
    )
  return found


def _tokenizer(config: Config, sets: Mapping[str, Set]) -> language.Tokenizer:
  """The user's, or one made of the training texts."""
  if config.text.vocabulary is not None:
    return language.Tokenizer.read(config.text.vocabulary)
  if config.network.checkpoint is not None:
    place = pathlib.Path(config.network.checkpoint).expanduser()
    described(place)  # or it is named as no training
    return language.Tokenizer.read(place / VOCABULARY)
  train = sets["train"]
  prefix = config.text.prefix
  texts = [language.clean_caption(f"{prefix} {text}") for text in train.captions[1]]
  texts += [language.clean_question(text) for text in train.questions]
  texts += [f" {text.capitalize()}" for text in (*train.answers, *train.candidates.get("vqa", ()))]
  if train.classes:
    texts += [f"{language.CLASS_PREFIX} {name.lower()}" for name in train.classes] * 2
  return language.Tokenizer.train(texts, config.text.vocab_size)


def _check_room(config: Config, tokenizer: language.Tokenizer) -> None:
  """Raises ValueError, naming the option, where the prefix leaves no room for a caption."""
  pieces = 1 + len(tokenizer.encode(config.text.prefix))
  if "caption" in config.data.tasks:
    for name, least in (("max_length", pieces + 1), ("max_tokens", pieces + 2)):
      if (value := getattr(config.text, name)) < least:
        raise ValueError(f"{name} must be at least {least} behind this prefix, got {value}.")


def _targets(
  config: Config, tokenizer: language.Tokenizer, sets: Mapping[str, Set]
) -> tuple[dict[str, dict[str, Texts]], int]:
  """Texts to learn from by part and task, as long in all parts; and the length of questions."""
  found: dict[str, dict[str, Texts]] = {name: {} for name in sets}
  length = 0
  options = config.text
  for task in config.data.tasks:
    if task == "caption":
      texts = [text for one in sets.values() for text in one.captions[1]]
      whole = language.captions(
        tokenizer, texts, prefix=options.prefix, max_tokens=options.max_tokens
      )
      counts = [len(one.captions[1]) for one in sets.values()]
      rows = [one.captions[0] for one in sets.values()]
      weights: list[Any] = [None] * len(rows)
    elif task == "vqa":
      asked = [q for one in sets.values() for q in one.questions]
      answered = [a for one in sets.values() for a in one.answers]
      whole = language.questions_and_answers(tokenizer, asked, answered)
      length = whole.ids.shape[1] - language.answers(tokenizer, answered).ids.shape[1]
      counts, rows = [len(s.questions) for s in sets.values()], [s.asked for s in sets.values()]
      weights = [one.weights for one in sets.values()]
    else:
      names = [one.classes[i] for one in sets.values() for i in one.labels]
      whole = language.class_captions(tokenizer, names)
      counts = [len(one.labels) for one in sets.values()]
      rows = [np.arange(count) for count in counts]
      weights = [None] * len(rows)
    first = 0
    for name, count, of_images, weight in zip(sets, counts, rows, weights, strict=True):
      part = language.Targets(*(array[first : first + count] for array in whole))
      found[name][task] = Texts.of(of_images, part, weight)
      first += count
  return found, length


def read_tables(experts: Sequence[str], features: str | None) -> dict[str, np.ndarray]:
  """Features of classes of the experts that need them, from `<features>/<expert>.npy`.

  Args:
    experts: whose labels are read.
    features: the folder.

  Raises:
    OSError: naming a file that is not there.
    ValueError: naming one that does not fit.
  """
  found: dict[str, np.ndarray] = {}
  needed = [n for n in experts if labels.KINDS[n].numbers and n != "ocr_detection"]
  if not needed:
    return found
  if features is None:
    raise ValueError(
      f"features must name the folder with the classes' features for {', '.join(needed)}, got "
      "None; jaxmtl.data.experts.encode_names makes some."
    )
  for name in needed:
    file = pathlib.Path(features).expanduser() / f"{name}.npy"
    table = labels.read_features(file)
    if table.ndim != 2 or table.shape[1] != 64:
      raise ValueError(f"{file} must be [classes, 64], got {table.shape}.")
    count = CLASSES.get(name)
    if count is not None and len(table) not in (count, count + 1):
      raise ValueError(f"{file} must have {count} classes, perhaps one more, got {len(table)}.")
    found[name] = labels.with_background(table) if len(table) == count else table
  return found


def some_images(images: Any, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
  """Some of the test images as arrays."""
  if isinstance(images, Mapping):
    return {name: np.asarray(values[list(rows)]) for name, values in images.items()}
  found = images.__getitems__([int(i) for i in rows])
  return {name: np.stack([one[name] for one in found]) for name in found[0]}
