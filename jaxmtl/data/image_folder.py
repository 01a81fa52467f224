"""Folders of images, a sub-folder a class."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from jaxmtl.data.image_files import IMAGE_SUFFIXES, find_images
from jaxmtl.data.labelled_files import LabelledFiles, part_of

_LAYOUT = (
  "it must hold a folder a class with images in it, <class>/*.png, or such folders under train, "
  "validation (optional) and test"
)


def read_image_folder(folder: str | os.PathLike, task: str = "class") -> LabelledFiles:
  """Find images whose class is the name of their folder.

  Args:
    folder: with `<class>/<file>`, at any depth below the class; or `train/<class>/<file>`,
      `validation/` (or `val/`; optional) and `test/`.
    task: what to call the task.

  Returns:
    The `LabelledFiles`, classes in the order of their names; files are not looked at yet.

  Raises:
    FileNotFoundError: if there is no such folder, or no image in it.
    ValueError: if it is not as described above, naming the folder.

  Example:
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for name in ("cat/a.png", "cat/b.jpg", "dog/c.png"):
    ...     (pathlib.Path(folder) / name).parent.mkdir(exist_ok=True)
    ...     (pathlib.Path(folder) / name).touch()
    ...   files = read_image_folder(folder)
    >>> files.names, files.classes, files.labels["class"].tolist()
    (('cat/a.png', 'cat/b.jpg', 'dog/c.png'), {'class': ('cat', 'dog')}, [0, 0, 1])
  """
  root = pathlib.Path(folder).expanduser()
  if not root.is_dir():
    raise FileNotFoundError(f"there is no folder {str(folder)!r}.")
  below = _folders(root)
  by_part = bool(below) and all(part_of(path.name) for path in below)
  roots = {path: part_of(path.name) for path in below} if by_part else {root: None}
  if len(set(roots.values())) < len(roots):
    raise ValueError(f"{str(folder)!r} has two folders for one part.")
  found: list[tuple[str, str, str | None]] = []
  for home, part in roots.items():
    for kind in _folders(home):
      images = find_images(kind)
      if not images:
        raise FileNotFoundError(
          f"folder {str(kind)!r} has no image ({', '.join(IMAGE_SUFFIXES)}); {_LAYOUT}."
        )
      found += [(path.relative_to(root).as_posix(), kind.name, part) for path in images]
  if not found:
    raise FileNotFoundError(f"{str(folder)!r} has no folder with images; {_LAYOUT}.")
  classes = sorted({kind for _, kind, _ in found})
  if len(classes) == 1:
    raise ValueError(f"{str(folder)!r} has a single class, {classes[0]!r}; {_LAYOUT}.")
  if by_part and (new := set(classes) - {k for _, k, part in found if part == "train"}):
    raise ValueError(f"{str(folder)!r} has no class {min(new)!r} in train, but in another part.")
  number = {name: i for i, name in enumerate(classes)}
  names = tuple(name for name, _, _ in found)
  return LabelledFiles(
    root,
    names,
    {task: np.array([number[kind] for _, kind, _ in found], np.int32)},
    {task: tuple(classes)},
    names,
    np.array([part for _, _, part in found]) if by_part else None,
  )


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
  hidden = (".", "__MACOSX")
  return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(hidden))
