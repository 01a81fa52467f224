"""Questions about images in the files of VQAv2 and Visual Genome."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxmtl.data.language.cleaning import clean_question
from jaxmtl.data.language.entries import Entry, entries_of, paths_of, read_json

_FOLDERS = {"vqa": "vqav2", "vg": "vg"}
_GENOME_WEIGHT = 0.2


@dataclasses.dataclass(frozen=True)
class QuestionSet:
  """Questions, each about one image.

  Attributes:
    names: '<set>/<image>' for each question, by which experts' labels are found, too.
    paths: of the files.
    questions: as they were written.
    answers: one of each, or None where they are not known.
    weights: of the answers in the loss, float32, or None where there are no answers.
    ids: of the questions, for files of results, or None where they have none.
  """

  names: tuple[str, ...]
  paths: tuple[pathlib.Path, ...]
  questions: tuple[str, ...]
  answers: tuple[str, ...] | None
  weights: np.ndarray | None
  ids: tuple[int, ...] | None

  def __len__(self) -> int:
    return len(self.questions)

  def subset(self, indices: Sequence[int] | np.ndarray) -> QuestionSet:
    """Some of the questions, in this order."""
    rows = [int(i) for i in indices]
    return QuestionSet(
      tuple(self.names[i] for i in rows),
      tuple(self.paths[i] for i in rows),
      tuple(self.questions[i] for i in rows),
      None if self.answers is None else tuple(self.answers[i] for i in rows),
      None if self.weights is None else self.weights[rows],
      None if self.ids is None else tuple(self.ids[i] for i in rows),
    )

  def fingerprint(self) -> str:
    """What tells this data set from others: names, sizes of files, texts; not where it lies."""
    paths = dict(zip(self.names, self.paths, strict=True))
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    weights = None if self.weights is None else self.weights.tolist()
    content = json.dumps([self.names, sizes, self.questions, self.answers, weights, self.ids])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_vqa_train(data_dir: str | os.PathLike, *, genome: bool = True) -> QuestionSet:
  r"""Questions and answers to learn from: VQAv2's, and Visual Genome's.

  Args:
    data_dir: with `vqav2_train_val.json` ([{dataset, image, question, answer, weight}], an entry
      for each different answer), `vg_qa.json` (without weights, which are 0.2), and the images,
      `vqav2/<image>` and `vg/<image>`.
    genome: whether Visual Genome's are taken, too.

  Returns:
    The `QuestionSet`.

  Raises:
    FileNotFoundError: naming it, if a file is not there; with their number, if images are.
    ValueError: naming file and entry, if one does not fit.

  Example:
    >>> import json, pathlib, tempfile
    >>> from jaxmtl.data.language import read_vqa_train
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   (pathlib.Path(folder) / "vqav2").mkdir()
    ...   (pathlib.Path(folder) / "vqav2/a.jpg").touch()
    ...   entry = {"dataset": "vqa", "image": "a.jpg", "question": "Is it red?", "answer": "yes"}
    ...   file = pathlib.Path(folder) / "vqav2_train_val.json"
    ...   _ = file.write_text(json.dumps([entry | {"weight": 0.5}]))
    ...   found = read_vqa_train(folder, genome=False)
    >>> found.questions, found.answers, found.weights.tolist()
    (('Is it red?',), ('yes',), [0.5])
  """
  root = pathlib.Path(data_dir).expanduser()
  files = [root / "vqav2_train_val.json", *([root / "vg_qa.json"] if genome else [])]
  entries = [e for file in files for e in entries_of(file, "a list of {image, question, answer}")]
  weights = [_GENOME_WEIGHT if _is_genome(e) else e.weight("weight") for e in entries]
  source = " or ".join(file.name for file in files)
  found = _asked(root, entries, source)
  return dataclasses.replace(
    found,
    answers=tuple(entry.text("answer") for entry in entries),
    weights=np.array(weights, np.float32),
  )


def read_vqa_test(data_dir: str | os.PathLike) -> QuestionSet:
  """The questions of VQAv2's test part, 447,793, whose answers its server has.

  Args:
    data_dir: with `vqav2_test.json` ([{dataset, image, question, question_id}]) and the images,
      `vqav2/<image>`.

  Returns:
    The `QuestionSet`.

  Raises:
    FileNotFoundError: as `read_vqa_train`.
    ValueError: the same, or if two questions have one id.
  """
  root = pathlib.Path(data_dir).expanduser()
  file = root / "vqav2_test.json"
  entries = entries_of(file, "a list of {image, question, question_id}")
  ids = tuple(entry.number("question_id") for entry in entries)
  if len(set(ids)) < len(ids):
    raise ValueError(f"{file.name} has {len(ids) - len(set(ids))} question_id(s) twice.")
  return dataclasses.replace(_asked(root, entries, file.name), ids=ids)


def read_answer_list(file: str | os.PathLike) -> tuple[str, ...]:
  """The answers from which `prismer.rank` chooses: `answer_list.json`, VQAv2's 3,128.

  Args:
    file: a list of texts.

  Returns:
    The answers.

  Raises:
    FileNotFoundError: naming the file, if it is not there.
    ValueError: naming the file, if it is no list of texts, one is empty, or stands there twice.
  """
  return texts_of(pathlib.Path(file).expanduser(), "a list of answers")


def read_vqa_answers(file: str | os.PathLike) -> dict[int, tuple[str, ...]]:
  """The ten answers of people to each question, for `metrics.vqa_accuracy`.

  Args:
    file: VQAv2's annotations, `v2_mscoco_val2014_annotations.json`.

  Returns:
    The answers by question_id.

  Raises:
    FileNotFoundError: naming the file, if it is not there.
    ValueError: naming file and entry, if one does not fit.
  """
  path = pathlib.Path(file).expanduser()
  notes = read_json(path, dict, "VQA's annotations").get("annotations")
  if not isinstance(notes, list):
    raise ValueError(f"{str(path)!r} must have a list 'annotations', as VQA's files have.")
  found: dict[int, tuple[str, ...]] = {}
  for i, fields in enumerate(notes):
    entry = Entry(path, i, fields)
    given = [Entry(path, i, answer).text("answer") for answer in entry.entries("answers")]
    found[entry.number("question_id")] = tuple(given)
  return found


def texts_of(path: pathlib.Path, what: str) -> tuple[str, ...]:
  """The different texts of a file's list."""
  found = read_json(path, list, what)
  for i, text in enumerate(found):
    if not isinstance(text, str) or not text.strip():
      raise ValueError(
        f"{path.name}, entry {i}: it must be a text that is not empty, got {text!r}."
      )
  if len(set(found)) < len(found):
    twice = next(text for text in found if found.count(text) > 1)
    raise ValueError(f"{path.name} has {twice!r} twice.")
  return tuple(found)


def _asked(root: pathlib.Path, entries: Sequence[Entry], source: str) -> QuestionSet:
  """Images and questions of entries."""
  for entry in entries:
    if not clean_question(entry.text("question")):
      raise ValueError(f"{entry.where}: the question is empty once it is clean; leave it out.")
  names = tuple(
    f"{_FOLDERS['vg' if _is_genome(entry) else 'vqa']}/{entry.text('image')}" for entry in entries
  )
  paths = paths_of(root, names, source)
  return QuestionSet(
    names, paths, tuple(entry.text("question") for entry in entries), None, None, None
  )


def _is_genome(entry: Entry) -> bool:
  """Whether an entry is Visual Genome's, not VQAv2's."""
  found = entry.text("dataset")
  if found not in _FOLDERS:
    raise ValueError(
      f"{entry.where}: 'dataset' must be one of {', '.join(_FOLDERS)}, got {found!r}."
    )
  return found == "vg"
