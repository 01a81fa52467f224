"""Captioned scenes as files: images, labels, captions and questions in the published layouts."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._files import replacing
from jaxmtl.data.captioned_scenes import SCENE_EXPERTS, CaptionedScenes
from jaxmtl.data.experts.layout import KINDS, label_path, side_key
from jaxmtl.data.experts.side_files import NO_CLASS
from jaxmtl.data.experts.writing import Label, write_label

if TYPE_CHECKING:
  from PIL import Image
else:
  Image = Optional("PIL.Image", "data", __name__)

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_SET = "vqav2"  # where readers of VQAv2 look for images
_ANSWERS = 10  # people who answered each question of VQAv2


def write_captioned_scenes(
  parts: Mapping[str, CaptionedScenes], data_dir: str | os.PathLike, labels: str | os.PathLike
) -> None:
  """Writes scenes as the published data sets are: what reads those reads these.

  Images go to `<data_dir>/vqav2`, captions to `dataset_scenes.json` in Karpathy's form, questions
  to `vqav2_train_val.json` (all but the part test, with answers of weight 1), `vqav2_test.json` and
  its `vqav2_test_annotations.json` (ten equal answers), all answers to `answer_list.json`, and
  experts' labels to `<labels>/<expert>/vqav2`.

  Args:
    parts: scenes by `train`, `validation` and `test`, any of them.
    data_dir: folder of the images and texts.
    labels: folder of the labels.

  Raises:
    OSError: if a file cannot be written.
    ValueError: if a part's name is not known.

  Example:
    >>> import pathlib, tempfile
    >>> from jaxmtl.data import captioned_scenes, write_captioned_scenes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   parts = {"train": captioned_scenes(1, 24)}
    ...   write_captioned_scenes(parts, folder, f"{folder}/labels")
    ...   sorted(path.name for path in pathlib.Path(folder).iterdir())
    ['answer_list.json', 'dataset_scenes.json', 'labels', 'vqav2', 'vqav2_train_val.json']
  """
  if unknown := sorted(set(parts) - set(_SPLITS)):
    raise ValueError(f"parts must be among {', '.join(_SPLITS)}, got {unknown}.")
  root, images = pathlib.Path(data_dir).expanduser(), []
  learned: list[dict[str, Any]] = []
  tested: list[dict[str, Any]] = []
  notes = []
  for part, scenes in parts.items():
    files = [f"{part}_{i:06d}.png" for i in range(len(scenes.captions))]
    for i, file in enumerate(files):
      _write_example(scenes.examples, i, file, root, pathlib.Path(labels).expanduser())
      sentences = [{"raw": caption} for caption in scenes.captions[i]]
      images.append({"filename": file, "split": _SPLITS[part], "sentences": sentences})
    for asked in scenes.questions:
      entry = {"dataset": "vqa", "image": files[asked.image], "question": asked.question}
      if part != "test":
        learned.append(entry | {"answer": asked.answer, "weight": 1.0})
        continue
      number = len(tested)
      tested.append(entry | {"question_id": number})
      notes.append({"question_id": number, "answers": [{"answer": asked.answer}] * _ANSWERS})
  answers = sorted({asked.answer for scenes in parts.values() for asked in scenes.questions})
  texts: dict[str, Any] = {
    "dataset_scenes.json": {"dataset": "scenes", "images": images},
    "answer_list.json": answers,
  }
  if learned:
    texts["vqav2_train_val.json"] = learned
  if tested:
    texts["vqav2_test.json"] = tested
    texts["vqav2_test_annotations.json"] = {"annotations": notes}
  for name, content in texts.items():
    with replacing(root / name) as draft:
      draft.write_text(json.dumps(content))


def _write_example(
  examples: Mapping[str, np.ndarray], i: int, file: str, root: pathlib.Path, labels: pathlib.Path
) -> None:
  """The image and what experts say about it."""
  with replacing(root / _SET / file) as draft:
    Image.fromarray(examples["rgb"][i]).save(draft, "PNG")
  for expert in SCENE_EXPERTS:
    side = None
    if KINDS[expert].side:
      table = examples[side_key(expert)][i]
      side = {n: int(value) for n, value in enumerate(table) if value != NO_CLASS}
    label = Label(examples[expert][i, ..., 0], side)
    write_label(label_path(labels, expert, f"{_SET}/{file}"), expert, label)
