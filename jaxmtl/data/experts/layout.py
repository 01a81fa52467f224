"""Which experts' labels are known, what their pixels mean, and where their files lie."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable

from jaxmtl.data.folders import check_below

BACKGROUND = 255
"""What a pixel of numbers holds where there is no class, object or word."""
IMAGE = "rgb"


@dataclasses.dataclass(frozen=True)
class Kind:
  """What the pixels of an expert's labels are.

  Attributes:
    channels: of its PNG files.
    numbers: whether pixels are numbers of classes, objects or words, not quantities.
    side: what is said about every number of an image: `"classes"`, `"features"`, or nothing.
  """

  channels: int = 1
  numbers: bool = False
  side: str = ""

  @property
  def fill(self) -> int:
    """What a pixel holds of which nothing is known."""
    return BACKGROUND if self.numbers else 0


KINDS = {
  "depth": Kind(),
  "normal": Kind(channels=3),
  "edge": Kind(),
  "seg": Kind(numbers=True),
  "seg_coco": Kind(numbers=True),
  "seg_ade": Kind(numbers=True),
  "obj_detection": Kind(numbers=True, side="classes"),
  "ocr_detection": Kind(numbers=True, side="features"),
}
"""The experts: `seg` is for classes of one's own, the others are the published ones."""


def side_key(name: str) -> str:
  """Under which name examples hold what is said about an expert's numbers.

  Args:
    name: of an expert with a side file.

  Example:
    >>> from jaxmtl.data.experts.layout import side_key
    >>> side_key("obj_detection")
    'obj_detection_classes'
  """
  return f"{name}_{KINDS[name].side}"


def check_names(names: Iterable[str]) -> tuple[str, ...]:
  """The experts' names, once each.

  Raises:
    ValueError: if one is not known.
  """
  found = tuple(dict.fromkeys(names))
  if unknown := [name for name in found if name not in KINDS]:
    raise ValueError(f"experts {unknown} are not known; there are {', '.join(KINDS)}.")
  return found


def label_path(labels: pathlib.Path, expert: str, name: str) -> pathlib.Path:
  """Where the labels of an image lie: `<labels>/<expert>/<set>/<image>.png`.

  Args:
    labels: the folder of all labels.
    expert: its name.
    name: of the image, `<set>/<image>`, with its ending.

  Returns:
    The path.

  Example:
    >>> import pathlib
    >>> from jaxmtl.data import experts
    >>> experts.label_path(pathlib.Path("labels"), "depth", "vg/a/1.jpg").as_posix()
    'labels/depth/vg/a/1.png'
  """
  return (labels / expert / name).with_suffix(".png")


def check_apart(names: Iterable[str]) -> None:
  """Looks for images whose labels would have the same file, as those of `1.jpg` and `1.png`.

  Labels are written where names say, which therefore must not lead out of their folder.

  Raises:
    ValueError: naming two of them, or one that leads elsewhere.
  """
  seen: dict[pathlib.PurePath, str] = {}
  for name in names:
    check_below(name, f"image {name!r}")
    stem = pathlib.PurePath(name).with_suffix("")
    if (other := seen.setdefault(stem, name)) != name:
      raise ValueError(
        f"images {other!r} and {name!r} would share the labels {stem.as_posix()}.png; rename one."
      )
