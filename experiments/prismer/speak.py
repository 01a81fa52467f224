"""Captions, answers and classes of one's own images, by a network that is trained."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import tyro

from experiments.prismer import own_images, trained
from experiments.prismer.config import TextOptions
from experiments.runner import store
from experiments.runner.config import check_positive
from experiments.runner.mesh import say
from jaxmtl.data import language

Images = Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE|FOLDER...")]


@dataclasses.dataclass(frozen=True)
class NetworkChoice:
  """Which network, and what it is given."""

  checkpoint: str
  """Folder of a training, such as runs/prismer/prismer, or a published file, pytorch_model.bin or
  .safetensors."""
  seed: int = 0
  """Which of the folder's runs, from 0."""
  vocabulary: str | None = None
  """Of a published file: folder with RoBERTa's vocab.json and merges.txt. Trainings have theirs."""
  features: str | None = None
  """Of a published file: folder with features of classes, <expert>.npy, where labels need them."""
  labels: str | None = None
  """Folder of experts' labels, <labels>/<expert>/<folder>/<image>.png, as python -m
  experiments.prismer experts writes them. Without them, or some, answers are less accurate."""
  json: str | None = None
  """Write results to this file, too, in the form of the servers of COCO and VQA."""
  batch_size: int = 16
  """Images at a time."""
  precision: Literal["float32", "bfloat16"] = "float32"
  """Of the network's arithmetic."""

  def load(self, text: TextOptions) -> trained.Network:
    """The network."""
    check_positive(self, "batch_size")
    file = None if self.json is None else pathlib.Path(self.json).expanduser().absolute()
    if file is not None and not file.parent.is_dir():
      raise FileNotFoundError(f"json: there is no folder for {self.json}.")
    text = dataclasses.replace(text, vocabulary=self.vocabulary)
    return trained.load(
      self.checkpoint,
      text,
      seed=self.seed,
      features=self.features,
      experts=() if self.labels is None else None,
      dtype=None if self.precision == "float32" else jnp.bfloat16,
    )


@dataclasses.dataclass(frozen=True)
class Caption:
  """Captions of images of one's own."""

  images: Images
  """Files, or folders, of which all images at any depth are taken."""
  network: NetworkChoice
  beams: int = 3
  """Captions that are followed at a time; 1: the best word each time."""
  max_length: int = 20
  """Most pieces of a caption, with its prefix."""
  min_length: int = 8
  """Fewest."""
  prefix: str | None = None
  """Of a published file: "" where it was only pre-trained; None: "A picture of". Trainings have
  theirs."""


@dataclasses.dataclass(frozen=True)
class Ask:
  """Answers to a question about images of one's own."""

  question: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="QUESTION")]
  """In quotes."""
  images: Images
  """Files, or folders, of which all images at any depth are taken."""
  network: NetworkChoice
  answers: str | None = None
  """File with a list of answers to choose from, answer_list.json. None: those of the training, of a
  published file any words."""
  free: bool = False
  """Any words, whatever list there is."""
  rank: int = 16
  """Answers of the list, by their first word, that are looked at in full."""


@dataclasses.dataclass(frozen=True)
class Classify:
  """Classes of images of one's own."""

  images: Images
  """Files, or folders, of which all images at any depth are taken."""
  network: NetworkChoice
  names: tuple[str, ...] = ()
  """Of the classes; none: those of the training."""
  rank: int = 32
  """Classes, by their first word, that are looked at in full."""


def caption(options: Caption) -> list[dict[str, Any]]:
  """Captions images; prints them, and writes them with `json`.

  Returns:
    Image and text of each.
  """
  text = TextOptions(
    beams=options.beams, max_length=options.max_length, min_length=options.min_length
  )
  if options.prefix is not None:
    text = dataclasses.replace(text, prefix=options.prefix)
    if pathlib.Path(options.network.checkpoint).expanduser().is_dir():
      raise ValueError(
        f"prefix is for a published file; {options.network.checkpoint} has its own. Leave it out."
      )
  text.check()
  network = options.network.load(text)
  _note_untrained(network, "caption")
  return _each(
    options.images,
    options.network,
    network,
    lambda images: network.speaker.captions(network.variables, images),
    language.write_captions,
    "caption",
  )


def ask(options: Ask) -> list[dict[str, Any]]:
  """Answers a question about images."""
  check_positive(options, "rank")
  if not language.clean_question(options.question):
    raise ValueError(f"question must have words, got {options.question!r}.")
  network = options.network.load(TextOptions(rank=options.rank))
  _note_untrained(network, "vqa")
  listed = network.candidates.get("vqa", ())
  if options.answers is not None:
    listed = language.read_answer_list(options.answers)
  listed = () if options.free else listed

  def said(images: Any) -> list[str]:
    asked = [options.question] * len(images["rgb"])
    return network.speaker.answers(network.variables, images, asked, listed)

  write: Any = language.write_answers
  return _each(options.images, options.network, network, said, write, "answer")


def classify(options: Classify) -> list[dict[str, Any]]:
  """Names the likeliest class of each image."""
  check_positive(options, "rank")
  network = options.network.load(TextOptions(rank=options.rank))
  names = options.names or network.candidates.get("classify", ())
  if not names:
    raise ValueError("names must name the classes, as the network was trained with none.")
  if any(not name.strip() for name in names):
    raise ValueError(f"names must not be empty, got {names}.")
  return _each(
    options.images,
    options.network,
    network,
    lambda images: network.speaker.classes(network.variables, images, names),
    None,
    "class",
  )


def _note_untrained(network: trained.Network, task: str) -> None:
  if network.tasks and task not in network.tasks:
    say(
      f"Note: the network was trained on {', '.join(network.tasks)}, not on {task}; what it says "
      "here means little."
    )


def _each(
  given: tuple[str, ...],
  choice: NetworkChoice,
  network: trained.Network,
  say_of: Callable[[Any], list[str]],
  write: Callable[[Any, Any, Any], None] | None,
  what: str,
) -> list[dict[str, Any]]:
  """Texts of all images, printed batch by batch."""
  images = own_images.find(given)
  speaker = network.speaker
  side = speaker.model.config.image_size
  found: list[dict[str, Any]] = []
  faults: list[own_images.Fault] = []
  for rows, batch, bad in own_images.read(
    images, choice.labels, network.experts, side, choice.batch_size, speaker.tables
  ):
    faults += bad
    texts = say_of(jax.tree.map(jnp.asarray, batch))[: len(rows)] if rows else []
    for i, text in zip(rows, texts, strict=True):
      found.append({"image": str(images[i][1]), what: text})
      say(f"{images[i][1]}: {text}")
  if choice.json is not None and found:
    _write(choice.json, found, write, what)
  own_images.tell(faults, "could not be read")
  return found


def _write(file: str, found: list[dict[str, Any]], write: Any, what: str) -> None:
  path = pathlib.Path(file).expanduser()
  ids = ids_of([row["image"] for row in found])
  if write is not None:
    write(path, ids, [row[what] for row in found])
  else:
    rows = [{"image_id": i, what: row[what]} for i, row in zip(ids, found, strict=True)]
    store.write_json(path, rows)
  say(f"{len(found)} {what}(s) are in {path}.")


def ids_of(images: list[str]) -> list[Any]:
  """The numbers at the ends of names, as COCO's have them; the names where not all have one.

  Example:
    >>> from experiments.prismer.speak import ids_of
    >>> ids_of(["a/COCO_val2014_000000000042.jpg"]), ids_of(["cat.jpg"])
    ([42], ['cat.jpg'])
  """
  stems = [re.search(r"_(\d{12})$", pathlib.Path(image).stem) for image in images]
  if all(stems) and len({m[1] for m in stems if m}) == len(images):
    return [int(m[1]) for m in stems if m]
  names = [pathlib.Path(image).name for image in images]
  return names if len(set(names)) == len(names) else images
