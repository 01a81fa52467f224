"""Runs experts over images and writes what they say, in the layout that `ExpertFiles` reads."""

from __future__ import annotations

import importlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmtl.data.experts.layout import check_apart, check_names, label_path
from jaxmtl.data.experts.writing import Label, check_label, write_label
from jaxmtl.data.image_files import Form, read_image

Expert = Callable[[np.ndarray], Any]


class Fault(NamedTuple):
  """An image of which a label could not be made.

  Attributes:
    path: of the image.
    expert: whose label is missing, or nothing where the image itself cannot be read.
    error: why.
  """

  path: pathlib.Path
  expert: str
  error: str


def fill(
  names: Sequence[str],
  paths: Sequence[str | os.PathLike],
  labels: str | os.PathLike,
  experts: Mapping[str, Expert],
  *,
  on_image: Callable[[int, int], Any] | None = None,
) -> list[Fault]:
  """Writes the labels of experts for images: `<labels>/<expert>/<set>/<image>.png`.

  Labels that are there are skipped, so that the same call goes on after a stop. A bad image does
  not end the run, and neither does an expert that fails on one. (A disk that is full does.)

  Args:
    names: of the images, `<set>/<image>`.
    paths: of their files.
    labels: the folder to fill.
    experts: functions by the names of their labels: an image uint8 `[H, W, 3]` to a `Label`, or,
      for labels without a side file, its pixels alone.
    on_image: is called after each image with how many are done, and their number.

  Returns:
    What could not be labelled, in the order of the images.

  Raises:
    OSError: if a label cannot be written.
    ValueError: if names and paths do not fit, or an expert is not known.

  Example:
    >>> import pathlib, tempfile, numpy as np
    >>> from PIL import Image
    >>> from jaxmtl.data import experts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   home = pathlib.Path(folder)
    ...   Image.new("RGB", (8, 6)).save(home / "a.png")
    ...   (home / "b.png").write_text("no image")
    ...   files = [home / "a.png", home / "b.png"]
    ...   faults = experts.fill(["own/a.png", "own/b.png"], files, home, {"edge": experts.edges})
    ...   (home / "edge/own/a.png").is_file()
    8
    True
    >>> [fault.path.name for fault in faults]
    ['b.png']
  """
  check_names(experts)
  check_apart(names)
  if len(names) != len(paths):
    raise ValueError(f"names and paths must be as many, got {len(names)} and {len(paths)}.")
  folder = pathlib.Path(labels).expanduser()
  faults = []
  for i, (name, given) in enumerate(zip(names, paths, strict=True)):
    faults += _label(pathlib.Path(given), name, folder, experts)
    if on_image is not None:
      on_image(i + 1, len(names))
  return faults


def load_function(name: str) -> Callable[..., Any]:
  """A function by its dotted name: how a command line is given an expert of the user's own.

  Any program can be an expert. A network of one's own, in a file `my_experts.py`:

      from jaxmtl.data import experts

      network = ...  # of any library

      def depth(image):  # uint8 [H, W, 3]
        near = network(image)  # float [H, W], the nearer the larger
        return experts.depth_label(near)

  is `my_experts:depth`, and `experts.fill(names, paths, "labels", {"depth":
  experts.load_function("my_experts:depth")})` asks it.

  Args:
    name: `module:function`, as Python would import the module.

  Returns:
    The function.

  Raises:
    ValueError: if the name is not of this form, or there is no such function.

  Example:
    >>> from jaxmtl.data import experts
    >>> experts.load_function("jaxmtl.data.experts:edges") is experts.edges
    True
  """
  module, colon, attribute = name.partition(":")
  if not (module and colon and attribute):
    raise ValueError(f"an expert of one's own is 'module:function', got {name!r}.")
  try:
    found = getattr(importlib.import_module(module), attribute)
  except ModuleNotFoundError as error:
    if error.name and not f"{module}.".startswith(f"{error.name}."):
      raise  # the module is there, and something that it imports is not
    raise ValueError(f"{name!r}: there is no module {module!r} on Python's path.") from None
  except AttributeError:
    raise ValueError(f"{name!r}: module {module!r} has no {attribute!r}.") from None
  if not callable(found):
    raise ValueError(f"{name!r} is a {type(found).__name__}, not a function.")
  return found


def _label(
  path: pathlib.Path, name: str, folder: pathlib.Path, experts: Mapping[str, Expert]
) -> list[Fault]:
  """Writes the labels of an image that are not there, and says which could not be made."""
  targets = {expert: label_path(folder, expert, name) for expert in experts}
  open_ = [expert for expert, target in targets.items() if not target.is_file()]
  if not open_:
    return []
  try:
    image = read_image(path, Form(3, None))
  except (OSError, ValueError) as error:
    return [Fault(path, "", str(error))]
  faults = []
  for expert in open_:
    label: Label | None = None
    try:
      label = check_label(expert, experts[expert](image.copy()), image.shape[:2])
    except ImportError:
      raise  # of no image would there be a label
    except Exception as error:  # an expert is anyone's program
      faults.append(Fault(path, expert, f"{type(error).__name__}: {error}"))
    if label is not None:
      write_label(targets[expert], expert, label)
  return faults
