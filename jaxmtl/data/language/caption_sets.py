"""Captions of images in the files of COCO, NoCaps, Visual Genome and Conceptual Captions."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from jaxmtl.data.image_files import by_threads
from jaxmtl.data.language.cleaning import clean_caption
from jaxmtl.data.language.entries import Entry, entries_of, paths_of, read_json

_LIST = "a list of {image, caption}"


@dataclasses.dataclass(frozen=True)
class CaptionSet:
  """Images and what was written about each.

  Attributes:
    names: '<set>/<image>', by which experts' labels are found, too; each once.
    paths: of the files.
    captions: of each image, as they were written; none where they are not known.
    ids: of the images, for files of results.
  """

  names: tuple[str, ...]
  paths: tuple[pathlib.Path, ...]
  captions: tuple[tuple[str, ...], ...]
  ids: tuple[int | str, ...]

  def __len__(self) -> int:
    return len(self.names)

  def subset(self, indices: Sequence[int] | np.ndarray) -> CaptionSet:
    """Some of the images, in this order."""
    fields = (self.names, self.paths, self.captions, self.ids)
    return CaptionSet(*(tuple(field[i] for i in indices) for field in fields))  # type: ignore[arg-type]

  def pairs(self) -> tuple[np.ndarray, list[str]]:
    """All captions, and the number int64 of each one's image: what an epoch goes through."""
    counts = [len(texts) for texts in self.captions]
    return np.repeat(np.arange(len(self)), counts), [c for texts in self.captions for c in texts]

  def fingerprint(self) -> str:
    """What tells this data set from others: names, sizes of files, captions; not where it lies."""
    sizes = [path.stat().st_size for path in self.paths]
    content = json.dumps([self.names, sizes, self.captions, self.ids])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def join_captions(sets: Iterable[CaptionSet]) -> CaptionSet:
  """Several sets as one, such as those of pre-training.

  Raises:
    ValueError: naming it, if an image is in two.
  """
  parts = list(sets)
  names = [name for part in parts for name in part.names]
  if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
    raise ValueError(f"{twice[0]!r} is in two of the sets.")
  return CaptionSet(
    tuple(names),
    tuple(path for part in parts for path in part.paths),
    tuple(texts for part in parts for texts in part.captions),
    tuple(i for part in parts for i in part.ids),
  )


def read_coco_captions(
  data_dir: str | os.PathLike, part: Literal["train", "test"] = "train"
) -> CaptionSet:
  r"""COCO by Karpathy's split: 113,287 images with about five captions each, or 5,000 to test on.

  Args:
    data_dir: with `coco_karpathy_train.json` ([{image, caption}]), or `coco_karpathy_test.json`
      ([{image}]) and, where captions are to be measured, `coco_karpathy_test_gt.json` (COCO's
      annotations); and the images, `vqav2/<image>`.
    part: which.

  Returns:
    The `CaptionSet`; an image's id is the number at the end of its name.

  Raises:
    FileNotFoundError: naming it, if a file is not there; with their number, if images are.
    ValueError: naming file and entry, if one does not fit, or a caption is empty once it is clean.

  Example:
    >>> import json, pathlib, tempfile
    >>> from jaxmtl.data.language import read_coco_captions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   image = pathlib.Path(folder) / "vqav2/val2014/COCO_val2014_000000000042.jpg"
    ...   image.parent.mkdir(parents=True)
    ...   image.touch()
    ...   entries = [{"image": f"val2014/{image.name}", "caption": c} for c in ("A cat", "A pet")]
    ...   _ = (pathlib.Path(folder) / "coco_karpathy_train.json").write_text(json.dumps(entries))
    ...   found = read_coco_captions(folder)
    >>> found.captions, found.ids, found.pairs()[0].tolist()
    ((('A cat', 'A pet'),), (42,), [0, 0])
  """
  root = pathlib.Path(data_dir).expanduser()
  if part not in ("train", "test"):
    raise ValueError(f"part must be train or test, got {part!r}.")
  file = root / f"coco_karpathy_{part}.json"
  found: list[tuple[str, int | str, str | None]] = []
  for entry in entries_of(file, _LIST if part == "train" else "a list of {image}"):
    image = entry.text("image")
    digits = re.search(r"(\d+)\.\w+$", image)
    if not digits:
      raise ValueError(f"{entry.where}: the image's name must end in its number, got {image!r}.")
    found.append((image, int(digits[1]), caption_of(entry) if part == "train" else None))
  read = collected(root, "vqav2", found, file.name)
  truth = root / "coco_karpathy_test_gt.json"
  if part == "train" or not truth.exists():
    return read
  by_id: dict[int, list[str]] = {}
  notes = read_json(truth, dict, "COCO's annotations").get("annotations")
  if not isinstance(notes, list):
    raise ValueError(f"{str(truth)!r} must have a list 'annotations', as COCO's files have.")
  for i, fields in enumerate(notes):
    entry = Entry(truth, i, fields)
    by_id.setdefault(entry.number("image_id"), []).append(caption_of(entry))
  if left := [i for i in read.ids if i not in by_id]:
    raise ValueError(
      f"{truth.name} has no caption for {len(left)} image(s), the first is {left[0]}."
    )
  return dataclasses.replace(read, captions=tuple(tuple(by_id[int(i)]) for i in read.ids))


def read_nocaps(data_dir: str | os.PathLike) -> CaptionSet:
  """The validation part of NoCaps: 4,500 images without captions, which its server has.

  Args:
    data_dir: with `nocaps_val.json` ([{image, img_id}]) and the images, `nocaps/<image>`.

  Returns:
    The `CaptionSet`.

  Raises:
    FileNotFoundError: as `read_coco_captions`.
    ValueError: the same.
  """
  root = pathlib.Path(data_dir).expanduser()
  file = root / "nocaps_val.json"
  entries = entries_of(file, "a list of {image, img_id}")
  found = [(entry.text("image"), entry.number("img_id"), None) for entry in entries]
  return collected(root, "nocaps", found, file.name)


def read_genome_captions(data_dir: str | os.PathLike) -> CaptionSet:
  """Visual Genome's captions, for pre-training.

  Args:
    data_dir: with `vg_caption.json` ([{image, caption}]) and the images, of whose names the last
      two parts count: `vg/<folder>/<file>`.

  Returns:
    The `CaptionSet`; an image's id is its name.

  Raises:
    FileNotFoundError: as `read_coco_captions`.
    ValueError: the same.
  """
  root = pathlib.Path(data_dir).expanduser()
  file = root / "vg_caption.json"
  found: list[tuple[str, int | str, str | None]] = []
  for entry in entries_of(file, _LIST):
    image = "/".join(pathlib.PurePosixPath(entry.text("image")).parts[-2:])
    found.append((image, image, caption_of(entry)))
  return collected(root, "vg", found, file.name)


def read_conceptual_captions(
  data_dir: str | os.PathLike, name: Literal["cc12m", "cc3m_sgu"]
) -> CaptionSet:
  """Conceptual Captions, or any set with a text beside each image, for pre-training.

  Texts are read here, all of them; of each, the first line.

  Args:
    data_dir: with `<name>/<folder>/<image>.jpg` and, beside it, `<image>.txt`.
    name: of the set.

  Returns:
    The `CaptionSet`, in the order of names; an image's id is its name.

  Raises:
    FileNotFoundError: naming it, if a text is not there, or there is no image.
    ValueError: naming the text, if it is empty once it is clean, or no UTF-8.
  """
  root = pathlib.Path(data_dir).expanduser()
  paths = sorted((root / name).glob("*/*.jpg"))
  if not paths:
    raise FileNotFoundError(f"there is no image {str(root / name / '<folder>' / '*.jpg')!r}.")

  def read(i: int) -> str:
    file = paths[i].with_suffix(".txt")
    try:
      text = file.read_text(encoding="utf-8").partition("\n")[0]
    except FileNotFoundError:
      raise FileNotFoundError(
        f"there is no {str(file)!r}, the caption of {paths[i].name}."
      ) from None
    except UnicodeDecodeError as error:
      raise ValueError(f"{str(file)!r} is no text in UTF-8: {error}.") from None
    return filled(text, str(file))

  images = [path.relative_to(root / name).as_posix() for path in paths]
  texts = by_threads(read, range(len(paths)))
  return collected(root, name, zip(images, images, texts, strict=True), name)


def caption_of(entry: Entry, name: str = "caption") -> str:
  """An entry's caption, which is not empty once it is clean."""
  return filled(entry.text(name), entry.where)


def filled(text: str, where: str) -> str:
  """A caption; a ValueError says where it stands, if nothing of it is left when it is clean."""
  if not clean_caption(text).strip():
    raise ValueError(f"{where}: the caption {text!r} is empty once it is clean; leave it out.")
  return text


def collected(
  root: pathlib.Path,
  name: str,
  found: Iterable[tuple[str, int | str, str | None]],
  source: str,
) -> CaptionSet:
  """Images in the order in which they first occur, with all their captions.

  Args:
    root: where the set's folder is.
    name: of the set, and of its folder; "" for the root itself.
    found: image below the folder, its id, and a caption or None.
    source: what names them.

  Raises:
    FileNotFoundError: with their number, if images are missing.
    ValueError: naming the image, if it has two ids, or is not below the folder.
  """
  captions: dict[str, list[str]] = {}
  ids: dict[str, int | str] = {}
  for image, number, caption in found:
    if ids.setdefault(image, number) != number:
      raise ValueError(f"{source}: {image!r} has the ids {ids[image]!r} and {number!r}.")
    captions.setdefault(image, []).extend([] if caption is None else [caption])
  names = tuple(f"{name}/{image}" if name else image for image in captions)
  paths = paths_of(root, names, source)
  return CaptionSet(names, paths, tuple(map(tuple, captions.values())), tuple(ids.values()))
