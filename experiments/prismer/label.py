"""Labels of experts for images: built-in experts, ONNX files, trainings, own functions."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any

import rich.progress
import tyro

from experiments.prismer import own_images
from experiments.prismer.own_images import Fault
from experiments.runner.mesh import say
from jaxmtl import training
from jaxmtl.data import experts as labels
from jaxmtl.data.experts.fill import Expert

_ONNX = {"depth": "nearness", "normal": "normal", "edge": "edge"}


@dataclasses.dataclass(frozen=True)
class Experts:
  """Runs experts over images and writes their labels, which train, caption, ask and classify read.

  An expert is `edge` (Sobel, built in), `ocr_detection` (PP-OCR, extra ocr), or `label=` and: an
  ONNX file (`depth=midas.onnx`, perhaps with what it gives, `depth=net.onnx:depth`: nearness,
  depth, normal, edge or classes), the folder of a training of dense_prediction
  (`normal=runs/dense_prediction/equal`), or a function of one's own (`depth=my_experts:depth`).
  Labels that are there are kept: the same command goes on after a stop.
  """

  images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE|FOLDER...")]
  """Files, or folders, of which all images at any depth are taken."""
  out: str
  """The folder to fill, <out>/<expert>/<folder>/<image>.png."""
  experts: tuple[str, ...] = ("edge",)
  """Which ones."""
  set: str | None = None
  """Name of the set in the labels' paths, of which --data-dir's images are: Images of Flickr8k,
  vqav2 of COCO. None: the folder's own name."""


def experts(options: Experts) -> list[Fault]:
  """Fills the folder.

  Raises:
    SystemExit: with code 1, once faults are listed, where there are some.
  """
  if not options.experts:
    raise ValueError("experts must name at least one, got none.")
  chosen = dict(expert_of(name) for name in options.experts)
  images = own_images.find(options.images)
  if options.set is not None:
    images = [(f"{options.set}/{name.partition('/')[2]}", path) for name, path in images]
  out = pathlib.Path(options.out).expanduser()
  if out.exists() and not out.is_dir():
    raise NotADirectoryError(f"out: {out} is a file; name a folder.")
  names, paths = [name for name, _ in images], [path for _, path in images]
  with rich.progress.Progress(transient=True) as shown:
    bar = shown.add_task(", ".join(chosen), total=len(images))
    found = labels.fill(
      names, paths, out, chosen, on_image=lambda done, _: shown.update(bar, completed=done)
    )
  say(f"{len(images)} image(s), labels of {', '.join(chosen)} are in {out}.")
  faults = [
    Fault(fault.path, f"{fault.expert}: {fault.error}" if fault.expert else fault.error)
    for fault in found
  ]
  own_images.tell(faults, "lack labels")
  return faults


def expert_of(given: str) -> tuple[str, Expert]:
  """Label and function of an expert as the command line names it.

  Raises:
    OSError: if a file or folder is not there.
    ValueError: naming it, if it is not known.
  """
  name, equals, source = given.partition("=")
  if name not in labels.KINDS:
    raise ValueError(f"expert {name!r} is not known; labels are {', '.join(labels.KINDS)}.")
  if not equals:
    built_in: dict[str, Any] = {
      "edge": lambda: labels.edges,
      "ocr_detection": labels.ocr_expert,
    }
    if name not in built_in:
      raise ValueError(
        f"expert {name!r} is not built in; name a network or a function, as in {name}=net.onnx or "
        f"{name}=my_experts:{name}. Built in are {', '.join(built_in)}."
      )
    return name, built_in[name]()
  path, _, kind = source.partition(".onnx:")
  if source.endswith(".onnx") or kind:
    file = path if source.endswith(".onnx") else f"{path}.onnx"
    default = "classes" if labels.KINDS[name].numbers else _ONNX.get(name, "")
    return name, labels.onnx_expert(file, kind or default)
  if pathlib.Path(source).expanduser().is_dir():
    task = {"seg": "segmentation", "seg_coco": "segmentation", "seg_ade": "segmentation"}
    return name, training.load_trained_maps(source).expert(task.get(name, name))
  return name, labels.load_function(source)
