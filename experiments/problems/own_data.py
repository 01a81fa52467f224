"""Images by what `--dataset` names: a folder or table of one's own, or a data set by its name."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from experiments.problems.images import ImageTasks, Task
from experiments.runner.feeds import DeviceFeed, Feed
from experiments.runner.host_feed import HostFeed, Rows
from jaxmtl import data
from jaxmtl.data.manifest import MANIFEST_SUFFIXES

# Images from which the channels' mean and deviation are taken, and bytes, at most.
_SAMPLE, _SAMPLE_BYTES = 1000, 2**28


@dataclasses.dataclass(frozen=True)
class OwnDataOptions:
  """What a table does not say by itself, and where images are kept."""

  regression: tuple[str, ...] = ()
  """Columns of whole numbers in a table of one's own that are numbers, not classes."""
  classification: tuple[str, ...] = ()
  """Columns of other numbers in a table of one's own that are classes all the same."""
  feed: Literal["device", "host"] = "device"
  """device: all training images lie on the device; host: a few batches at a time do, and files of
  one's own are read when their turn comes, for data of any size. The order is another one."""

  def check(self, dataset: str) -> None:
    """Raises ValueError, naming the option, where one does not fit the data set."""
    for name in ("regression", "classification"):
      if getattr(self, name) and not is_own(dataset):
        raise ValueError(f"{name} is for a table of one's own, got dataset={dataset!r}.")


def is_own(dataset: str) -> bool:
  """Whether a data set is a table or an image folder, by its path, and no name.

  Names may have a slash too, and a folder that TFDS prepared is none of one's own.
  """
  path = pathlib.Path(dataset).expanduser()
  if path.suffix.lower() in MANIFEST_SUFFIXES:
    return True
  if path.suffix == ".npz" or dataset == "digits":
    return False
  if not path.is_dir():
    return dataset.startswith((".", "~", os.sep)) or dataset.endswith(os.sep)
  return not any(any(path.glob(f"{depth}dataset_info.json")) for depth in ("*/", "*/*/"))


def load_images(
  dataset: str,
  data_dir: str | None = None,
  image_size: int | None = None,
  seed: int = 0,
  *,
  tasks: Sequence[str] = (),
  regression: Sequence[str] = (),
  classification: Sequence[str] = (),
  in_memory: bool = True,
  validation: float = 0.0,
  label_key: str = "label",
) -> ImageTasks:
  """Loads images with their tasks.

  Args:
    dataset: a folder with a sub-folder a class, or a table, see `data.load_files`; or what
      `data.load` takes, whose single task is `label_key`.
    data_dir: folder of TFDS sets.
    image_size: side in pixels; needed where images differ in size.
    seed: of what is held out for validation; the test part never depends on it.
    tasks: columns to take; all where none is named.
    regression: columns of integers that are numbers.
    classification: columns of numbers that are classes.
    in_memory: whether own files are read at once, or each when its turn comes.
    validation: share to hold out of a set by name that has no validation part.
    label_key: which label of a TFDS set.

  Returns:
    The images; numbers are standardised by the training part's mean and deviation.

  Raises:
    FileNotFoundError: if something is not there; it names file and row.
    ValueError: if something does not fit; it names file and row.
  """
  if is_own(dataset):
    splits = data.load_files(
      dataset,
      tasks=tasks,
      regression=regression,
      classification=classification,
      image_size=image_size,
      seed=seed,
    )
    return of_files(splits, in_memory=in_memory)
  found = data.load(
    dataset,
    data_dir=data_dir,
    image_size=image_size,
    validation=validation,
    seed=seed,
    label_key=label_key,
  )
  parts = {"train": found.train, "validation": found.validation, "test": found.test}
  return ImageTasks(
    {name: {"image": p.images, label_key: p.labels} for name, p in parts.items() if p is not None},
    {label_key: Task(found.train.num_classes, found.train.class_names or ())},
    data.channel_statistics(found.train.images),
  )


def of_files(splits: data.FileSplits, *, in_memory: bool = True) -> ImageTasks:
  """Own files as `ImageTasks`, numbers standardised."""
  tasks = {task: _task(names, splits.train.labels[task]) for task, names in splits.classes.items()}

  def standardised(part: data.ImageFiles) -> data.ImageFiles:
    labels = {
      name: part.labels[name]
      if task.classes
      else ((part.labels[name] - task.mean) / task.scale).astype(np.float32)
      for name, task in tasks.items()
    }
    return part.with_labels(labels)

  named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
  files = {name: standardised(part) for name, part in named.items() if part is not None}
  parts: dict[str, Any] = {n: f.load() for n, f in files.items()} if in_memory else dict(files)
  identity = {"data": splits.fingerprint, "image_size": splits.train.form.size}
  return ImageTasks(parts, tasks, _statistics(parts["train"]), identity)


def _task(names: tuple[str, ...], train: np.ndarray) -> Task:
  if names:
    return Task(len(names), names)
  known = train[~np.isnan(train)]
  return Task(0, (), float(known.mean()), float(known.std()))


def _statistics(train: Any) -> tuple[Any, Any]:
  """Of a sample of the training images, the same one however they are kept."""
  whole = isinstance(train, Mapping)
  count = len(train["image"]) if whole else len(train)
  first = train["image"][0] if whole else train[0]["image"]
  most = max(1, min(_SAMPLE, _SAMPLE_BYTES // first.size))
  rows = np.linspace(0, count - 1, min(count, most)).astype(int)
  if whole:
    return data.channel_statistics(train["image"][rows])
  found = train.__getitems__(rows.tolist())
  return data.channel_statistics(np.stack([example["image"] for example in found]))


def train_feed(images: ImageTasks, batch_size: int, feed: str = "device", seed: int = 0) -> Feed:
  """Batches of the training part, from the device or from the host."""
  train = images.parts["train"]
  if feed == "device":
    return DeviceFeed(train, batch_size)
  return HostFeed(Rows(train) if isinstance(train, Mapping) else train, batch_size, seed)


def describe(dataset: str, images: ImageTasks) -> str:
  """What was found, in a line: images by part, tasks with their kinds and gaps."""
  sizes = [f"{len(next(iter(_labels(p).values())))} {name}" for name, p in images.parts.items()]
  found = []
  for name, task in images.tasks.items():
    values = np.concatenate([_labels(part)[name] for part in images.parts.values()])
    missing = int(((values < 0) if task.classes else np.isnan(values)).sum())
    gaps = f", {missing} missing" if missing else ""
    if task.classes:
      names = ", ".join(task.names[:5]) + (", ..." if len(task.names) > 5 else "")
      found.append(f"{name}: {task.classes} classes ({names}){gaps}")
    else:
      found.append(f"{name}: a number, {task.mean:.4g} ± {task.scale:.4g} in training{gaps}")
  return f"{dataset}: images for {', '.join(sizes)}; {'; '.join(found)}."


def _labels(part: Any) -> Mapping[str, np.ndarray]:
  labels = part if isinstance(part, Mapping) else part.labels
  return {name: values for name, values in labels.items() if name != "image"}
