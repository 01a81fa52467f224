"""Images of one's own: a folder or a table, named by its path in place of a data set's name."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from experiments.problems.images import ImageTasks, Task
from experiments.runner.config import flat
from experiments.runner.feeds import DeviceFeed
from experiments.runner.host_feed import HostFeed, Rows
from experiments.runner.mesh import say
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
  if path.is_file():
    return True  # whose end is then named as wrong
  if not path.is_dir():
    return dataset.startswith((".", "~", os.sep)) or dataset.endswith(os.sep)
  return not any(any(path.glob(f"{depth}dataset_info.json")) for depth in ("*/", "*/*/"))


def load_own(
  dataset: str,
  options: OwnDataOptions,
  *,
  image_size: int | None = None,
  seed: int = 0,
  tasks: Sequence[str] = (),
) -> ImageTasks:
  """Loads images of one's own with their tasks, and says what was found.

  Args:
    dataset: a folder with a sub-folder a class, or a table, see `data.load_files`.
    options: what is a number and what a class, and whether files are read at once (device), or
      each when its turn comes (host).
    image_size: side in pixels; needed where images differ in size.
    seed: of what is held out for validation; the test part never depends on it.
    tasks: columns to take; all where none is named.

  Returns:
    The images; numbers are standardised by the training part's mean and deviation.

  Raises:
    FileNotFoundError: if something is not there; it names file and row.
    ValueError: if something does not fit; it names file and row.
  """
  splits = data.load_files(
    dataset,
    tasks=tasks,
    regression=options.regression,
    classification=options.classification,
    image_size=image_size,
    seed=seed,
  )
  images = of_files(splits, in_memory=options.feed == "device")
  say(describe(dataset, images))
  return images


def note_ignored(config: Any, usual: Any, *names: str) -> None:
  """Says which options were given, other than a preset's, that mean nothing to data in files."""
  given, of_preset = flat(config), flat(usual)
  if found := [name for name in names if given[name] != of_preset[name]]:
    options = " and ".join(f"--{name.replace('_', '-')}" for name in found)
    say(f"Note: images in files have no use for {options}.")


def need_classes(dataset: str, images: ImageTasks, tasks: Sequence[str]) -> None:
  """Raises ValueError, naming the column, where a task has numbers instead of classes."""
  if numbers := [task for task in tasks if not images.tasks[task].classes]:
    others = [task for task in images.tasks if images.tasks[task].classes]
    mend = f"name others with --tasks: {', '.join(others)}; or " if others else ""
    raise ValueError(
      f"column {numbers[0]!r} of {dataset} has numbers, and only classes are learned here; {mend}"
      f"take its values for classes with --classification {numbers[0]}."
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


def train_feed(
  images: ImageTasks, batch_size: int, feed: str = "device", seed: int = 0
) -> DeviceFeed | HostFeed:
  """Batches of the training part, from the device or from the host."""
  train = images.parts["train"]
  if feed == "device":
    return DeviceFeed(train, batch_size)
  return HostFeed(Rows(train) if isinstance(train, Mapping) else train, batch_size, seed)


def describe(dataset: str, images: ImageTasks) -> str:
  """What was found, in a line: images by part, tasks with their kinds and gaps."""
  sizes = [f"{len(next(iter(part_labels(p).values())))} {name}" for name, p in images.parts.items()]
  found = []
  for name, task in images.tasks.items():
    values = np.concatenate([part_labels(part)[name] for part in images.parts.values()])
    missing = int(((values < 0) if task.classes else np.isnan(values)).sum())
    gaps = f", {missing} missing" if missing else ""
    if task.classes:
      names = ", ".join(task.names[:5]) + (", ..." if len(task.names) > 5 else "")
      found.append(f"{name}: {task.classes} classes ({names}){gaps}")
    else:
      found.append(f"{name}: a number, {task.mean:.4g} ± {task.scale:.4g} in training{gaps}")
  return f"{dataset}: images for {', '.join(sizes)}; {'; '.join(found)}."


def rows_of(part: Any, rows: np.ndarray) -> Any:
  """Some examples of a part, kept in the same way."""
  if isinstance(part, Mapping):
    return {name: values[rows] for name, values in part.items()}
  return part.subset(rows)


def part_labels(part: Any) -> Mapping[str, np.ndarray]:
  """A part's labels by task, whichever way its images are kept."""
  labels = part if isinstance(part, Mapping) else part.labels
  return {name: values for name, values in labels.items() if name != "image"}
