"""PASCAL-Context with five tasks: classes, human parts, normals, saliency and edges."""

from __future__ import annotations

import functools
import os
import pathlib

from jaxmtl.data.dense_files import (
  DenseFiles,
  DenseSplits,
  MapFiles,
  find,
  matched,
  refuse_other_set,
)
from jaxmtl.data.map_files import read_labels, read_photo
from jaxmtl.data.pascal_maps import (
  HUMAN_PARTS,
  read_edges,
  read_human_parts,
  read_indoor_normal,
  read_saliency,
)
from jaxmtl.data.segmentation_sets import PASCAL_CLASSES, listed

_WHOSE = "PASCAL-Context"
_PNG, _MAT = (".png",), (".mat",)


def read_pascal_context(
  folder: str | os.PathLike, *, image_size: tuple[int, int] | None = (512, 512)
) -> DenseSplits:
  """Open PASCAL-Context in the folders of ASTMT: five tasks, 4998 and 5105 images.

  Names are looked at here, and the headers of photographs and PNG files; what is in a file when its
  example is asked for. Of human parts the six that the multi-task papers have are told apart, and
  an image that shows none is void as a whole. Edges are the borders of PASCAL-Context's 459
  classes, thinned. Normals and saliency are other networks' answers; normals count on what is
  found indoors, people among it. All these are the rules of the set's own program.

  Args:
    folder: with `JPEGImages`; `ImageSets/Context/train.txt` and `val.txt`, a stem a line;
      `semseg/VOC12`, and `semseg/pascal-context` for images that it lacks (PNG files of numbers,
      255 void); `human_parts` (PASCAL-Part's `.mat` files); `normals_distill` and `sal_distill`
      (PNG files); `pascal-context/trainval` (`.mat` files with `LabelMap`).
    image_size: height and width to which all are brought; None where they have one size.

  Returns:
    The `DenseSplits`, without a test part. An example is `image` uint8 `[H, W, 3]`; int32 `[H, W]`
    `segmentation`, 21 classes, -1 where void, `part`, 7 classes, -1 where void, `saliency` and
    `edge`, 0 or 1; and `normal` float32 `[H, W, 3]`, unit vectors, 0 where there is none.

  Raises:
    FileNotFoundError: naming it, if a file or folder is not there.
    ValueError: naming file and value, if a list is empty, or sizes differ; and, on reading an
      example, if a file is not laid out as the set has it.
    ImportError: on reading an example, if SciPy is not installed.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.data import read_pascal_context, write_pascal_context
    >>> two = np.repeat([[1, 1, 1, 284, 284, 284]], 4, axis=0)[None]  # an accordion, a person
    >>> maps = {name: two // 284 for name in ("segmentation", "part", "saliency")}
    >>> maps |= {"image": np.zeros((1, 4, 6, 3), np.uint8), "context": two}
    >>> maps["normal"] = np.broadcast_to(np.float32([0, 0, 1]), (1, 4, 6, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for part in ("train", "val"):
    ...     write_pascal_context(folder, part, maps)
    ...   example = read_pascal_context(folder, image_size=None).train[0]
    >>> [example[name][1].tolist() for name in ("part", "edge")]
    [[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
    >>> example["normal"][1, :, 2].round().tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]

  Reference:
    Mottaghi et al., "The Role of Context for Object Detection and Semantic Segmentation in the
    Wild", 2014; Chen et al., "Detect What You Can: Detecting and Representing Objects using
    Holistic Models and Body Parts", 2014; the tasks and folders of Maninis, Radosavovic and
    Kokkinos, "Attentive Single-Tasking of Multiple Tasks", 2019.
  """
  root = pathlib.Path(folder).expanduser()
  photos, contexts = root / "JPEGImages", root / "pascal-context" / "trainval"
  needed = ["human_parts", "JPEGImages", "normals_distill", "sal_distill", "semseg"]
  needed += ["pascal-context/trainval"]
  layout = ", ".join(f"{name}/" for name in needed)
  refuse_other_set(root, "read_pascal_context", needed, f"{layout} and ImageSets/Context/")
  images = find(photos, (".jpg",), _WHOSE)

  def part(name: str) -> DenseFiles:
    chosen = listed(root / "ImageSets" / "Context" / f"{name}.txt", images)
    parts, edges = (matched(chosen, at, _MAT, _WHOSE) for at in (root / "human_parts", contexts))
    normal, saliency = (
      matched(chosen, root / at, _PNG, _WHOSE) for at in ("normals_distill", "sal_distill")
    )
    segmentation = [root / "semseg" / "VOC12" / f"{stem}.png" for stem in chosen]
    others = {at.stem: images[at.stem] for at in segmentation if not at.is_file()}
    if others:
      found = matched(others, root / "semseg" / "pascal-context", _PNG, _WHOSE)
      by_stem = dict(zip(others, found, strict=True))
      segmentation = [by_stem.get(at.stem, at) for at in segmentation]
    classes = functools.partial(read_labels, num_classes=len(PASCAL_CLASSES), void=255)
    of_parts = functools.partial(read_human_parts, photos=photos)
    indoors = functools.partial(read_indoor_normal, contexts=contexts)
    return DenseFiles(
      {
        "image": MapFiles("image", tuple(chosen.values()), read_photo),
        "segmentation": MapFiles("label", tuple(segmentation), classes),
        "part": MapFiles("label", parts, of_parts),
        "normal": MapFiles("normal", normal, indoors),
        "saliency": MapFiles("label", saliency, read_saliency),
        "edge": MapFiles("label", edges, functools.partial(read_edges, photos=photos)),
      },
      image_size,
    )

  classes = {"segmentation": PASCAL_CLASSES, "part": HUMAN_PARTS}
  return DenseSplits(part("train"), part("val"), None, classes)
