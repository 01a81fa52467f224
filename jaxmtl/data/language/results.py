"""Results in the files that the servers of COCO, NoCaps and VQA take."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Sequence
from typing import Any

from jaxmtl._files import replacing


def write_captions(path: str | os.PathLike, ids: Sequence[int | str], texts: Sequence[str]) -> None:
  """Write captions as COCO's and NoCaps' servers take them: [{image_id, caption}].

  Args:
    path: of the file, which is there as a whole or not at all.
    ids: of the images, integers for the servers; `CaptionSet.ids`.
    texts: a caption each.

  Raises:
    ValueError: if numbers of ids and captions differ, or an id comes twice.

  Example:
    >>> import pathlib, tempfile
    >>> from jaxmtl.data.language import write_captions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   write_captions(f"{folder}/captions.json", [42], ["A dog."])
    ...   pathlib.Path(f"{folder}/captions.json").read_text()
    '[{"image_id": 42, "caption": "A dog."}]'
  """
  _write(path, "image_id", ids, "caption", texts)


def write_answers(path: str | os.PathLike, ids: Sequence[int], texts: Sequence[str]) -> None:
  """Write answers as VQA's server takes them: [{question_id, answer}].

  Args:
    path: of the file, which is there as a whole or not at all.
    ids: of the questions; `QuestionSet.ids`.
    texts: an answer each.

  Raises:
    ValueError: if numbers of ids and answers differ, or an id comes twice.
  """
  _write(path, "question_id", ids, "answer", texts)


def _write(
  path: str | os.PathLike, key: str, ids: Sequence[Any], name: str, texts: Sequence[str]
) -> None:
  if len(ids) != len(texts):
    raise ValueError(f"there must be one {name} for each {key}, got {len(texts)} for {len(ids)}.")
  # NumPy's integers are none of JSON's.
  numbers = [i if isinstance(i, str) else operator.index(i) for i in ids]
  if len(set(numbers)) < len(numbers):
    twice = next(i for i in numbers if numbers.count(i) > 1)
    raise ValueError(f"{key} {twice!r} comes twice.")
  rows = [{key: i, name: text} for i, text in zip(numbers, texts, strict=True)]
  with replacing(path) as draft:
    draft.write_text(json.dumps(rows), encoding="utf-8")
