"""Captions in Karpathy's own files, and in tables of one's own."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from typing import Literal

from jaxmtl.data.labelled_files import part_of
from jaxmtl.data.language.caption_sets import CaptionSet, caption_of, collected, filled
from jaxmtl.data.language.entries import Entry, entries_of, read_json
from jaxmtl.data.manifest import csv_lines

_KARPATHY = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
_TABLES = (".csv", ".tsv")
Part = Literal["train", "validation", "test"]


def read_karpathy(
  file: str | os.PathLike, part: Part, images: str | os.PathLike | None = None
) -> CaptionSet:
  r"""Flickr8k, Flickr30k or COCO in the file that Karpathy split them in, `dataset_flickr8k.json`.

  Args:
    file: with {images: [{filename, split, sentences: [{raw}]}]}, and COCO's filepath and cocoid.
      Its split `restval` belongs to the part train.
    part: which.
    images: their folder; `Images` beside the file where None.

  Returns:
    The `CaptionSet`; an image's id is its cocoid, or its file name.

  Raises:
    FileNotFoundError: naming it, if a file is not there; with their number, if images are.
    ValueError: naming file and entry, if one does not fit, or a caption is empty once it is clean;
      if the part has no image.

  Example:
    >>> import json, pathlib, tempfile
    >>> from jaxmtl.data.language import read_karpathy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   file = pathlib.Path(folder) / "dataset.json"
    ...   (file.parent / "Images").mkdir()
    ...   (file.parent / "Images/a.jpg").touch()
    ...   entry = {"filename": "a.jpg", "split": "val", "sentences": [{"raw": "A dog ."}]}
    ...   _ = file.write_text(json.dumps({"images": [entry]}))
    ...   found = read_karpathy(file, "validation")
    >>> found.names, found.captions
    (('Images/a.jpg',), (('A dog .',),))

  Reference: Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image
  Descriptions", 2015.
  """
  path = pathlib.Path(file).expanduser()
  _check_part(part)
  folder = path.parent / "Images" if images is None else pathlib.Path(images).expanduser()
  content = read_json(path, dict, "Karpathy's {images: [...]}").get("images")
  if not isinstance(content, list):
    raise ValueError(f"{str(path)!r} must have a list 'images', as Karpathy's files have.")
  found: list[tuple[str, int | str, str | None]] = []
  for i, fields in enumerate(content):
    entry = Entry(path, i, fields)
    split = entry.text("split")
    if split not in _KARPATHY:
      raise ValueError(
        f"{entry.where}: 'split' must be one of {', '.join(_KARPATHY)}, got {split!r}."
      )
    if _KARPATHY[split] != part:
      continue
    image = entry.text("filename")
    number = entry.number("cocoid") if "cocoid" in entry else image
    image = f"{entry.text('filepath')}/{image}" if "filepath" in entry else image
    for sentence in entry.entries("sentences"):
      found.append((image, number, caption_of(Entry(path, i, sentence), "raw")))
  if not found:
    raise ValueError(f"{str(path)!r} has no image in the part {part}.")
  return collected(folder.parent, folder.name, found, path.name)


def read_captions(
  table: str | os.PathLike, part: Part | None = None, images: str | os.PathLike | None = None
) -> CaptionSet:
  r"""Captions of one's own: a table with an image and a caption in each row.

  Args:
    table: a `.csv` or `.tsv` file with the columns `image` and `caption`, or a `.json` file with
      [{image, caption}]; an image may have several rows. An optional column `split` says `train`,
      `validation` (or `val`) or `test`.
    part: of those with a `split`; all rows where None.
    images: the folder to which images are relative; the table's where None.

  Returns:
    The `CaptionSet`; an image's id is what the table has, and its name, by which labels of experts
    are found, begins with its folder: `photos/a/1.jpg` for `a/1.jpg` of `photos`.

  Raises:
    FileNotFoundError: naming it, if the table is not there; with their number, if images are.
    ValueError: naming file and row, if one does not fit, or a caption is empty once it is clean;
      if the part has no image, or two have one name.

  Example:
    >>> import pathlib, tempfile
    >>> from jaxmtl.data.language import read_captions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   table = pathlib.Path(folder) / "captions.csv"
    ...   (table.parent / "a.jpg").touch()
    ...   _ = table.write_text('image,caption\na.jpg,"A dog, asleep."\na.jpg,A pet.\n')
    ...   read_captions(table).captions
    (('A dog, asleep.', 'A pet.'),)
  """
  path = pathlib.Path(table).expanduser()
  if part is not None:
    _check_part(part)
  found: list[tuple[str, int | str, str | None]] = []
  rows = _rows_of_json(path) if path.suffix.lower() == ".json" else _rows_of_table(path)
  for where, image, caption, split in rows:
    home = None if split is None else part_of(split)
    if split is not None and home is None:
      raise ValueError(f"{where}: split must be train, validation or test, got {split!r}.")
    if part is not None and home is None:
      raise ValueError(f"{where}: there is no 'split', which says train, validation or test.")
    if part in (None, home):
      found.append((image, image, filled(caption, where)))
  if not found:
    raise ValueError(f"{str(path)!r} has no caption{f' in the part {part}' if part else ''}.")
  root = path.parent if images is None else pathlib.Path(images).expanduser()
  read = collected(root, "", found, path.name)
  names = tuple(_name(root, image) for image in read.names)
  for name, count in collections.Counter(names).items():
    if count > 1:
      raise ValueError(f"{path.name}: {count} images would share the labels of {name!r}.")
  return dataclasses.replace(read, names=names)


def _name(root: pathlib.Path, image: str) -> str:
  """As `experiments.prismer experts` names an image of a folder, or one that lies elsewhere."""
  path, home = (root / image).resolve(), root.resolve()
  if path.is_relative_to(home):
    return f"{home.name}/{path.relative_to(home).as_posix()}"
  return f"{path.parent.name}/{path.name}"


def _rows_of_json(path: pathlib.Path) -> list[tuple[str, str, str, str | None]]:
  return [
    (
      entry.where,
      entry.text("image"),
      entry.text("caption"),
      entry.text("split") if "split" in entry else None,
    )
    for entry in entries_of(path, "a list of {image, caption}")
  ]


def _rows_of_table(path: pathlib.Path) -> list[tuple[str, str, str, str | None]]:
  if path.suffix.lower() not in _TABLES:
    raise ValueError(f"{str(path)!r} must end in {', '.join((*_TABLES, '.json'))}.")
  if not path.is_file():
    raise FileNotFoundError(f"there is no {str(path)!r}, a table of captions.")
  lines = csv_lines(path, "image")
  _, header = next(lines)
  for name in ("image", "caption"):
    if header.count(name) != 1:
      raise ValueError(f"{path.name} must have one column {name!r}, got {', '.join(header)}.")
  rows = []
  for number, cells in lines:
    fields, where = dict(zip(header, cells, strict=True)), f"{path.name}, row {number}"
    if not fields["image"]:
      raise ValueError(f"{where}: column 'image' is empty.")
    rows.append((where, fields["image"], fields["caption"], fields.get("split")))
  return rows


def _check_part(part: str) -> None:
  if part not in ("train", "validation", "test"):
    raise ValueError(f"part must be train, validation or test, got {part!r}.")
