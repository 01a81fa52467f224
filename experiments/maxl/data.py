"""Data of the MAXL experiment: images with the labels of all levels of their hierarchy."""

from __future__ import annotations

from typing import Any

from experiments.maxl.config import Config
from experiments.problems.images import ImageTasks, Task
from experiments.problems.own_data import is_own
from jaxmtl import data

# Names of classes that people defined above a data set's own, by data set and number of classes.
_DIGITS = {2: "even, odd"}
_NAMES: dict[str, dict[int, str]] = {
  "digits": _DIGITS,
  "mnist": _DIGITS,
  "svhn_cropped": _DIGITS,
  "cifar100": {
    3: "animals, vegetations, objects and scenes",
    10: "large animals, medium animals, small animals, invertebrates, people, vegetations, "
    "household objects, large outdoor things, natural scenes, vehicles",
    20: "aquatic mammals, fish, flowers, food containers, fruit and vegetables, "
    "household electrical devices, household furniture, insects, large carnivores, "
    "large man-made outdoor things, large natural outdoor scenes, "
    "large omnivores and herbivores, medium mammals, non-insect invertebrates, people, reptiles, "
    "small mammals, trees, vehicles 1, vehicles 2",
  },
}


def level_name(classes: int) -> str:
  """The name of a level's task."""
  return f"level_{classes}"


def load(config: Config) -> ImageTasks:
  """Loads the data set, labelled on all levels, coarse to fine.

  Args:
    config: the experiment's options.

  Returns:
    The images, a task a level.

  Raises:
    ValueError: if an option does not fit.
    FileNotFoundError: if the data are not there; the message says how to get them.
  """
  given = config.data
  if given.base != "ucf101" and is_own(given.dataset):
    raise ValueError(
      f"dataset: {given.dataset!r} is a folder or table of one's own, which MAXL does not take; "
      "benchmark, auto_lambda, dgr and binary_labels do."
    )
  options: dict[str, Any] = {"validation": given.validation, "seed": config.run.seed}
  if given.base == "ucf101":
    splits = data.load_ucf101(given.data_dir, image_size=given.image_size or 32, **options)
  else:
    options["image_size"] = given.image_size
    splits = data.load(given.dataset, data_dir=given.data_dir, **options)
  train = splits.train
  levels = data.class_levels(given.dataset, train.num_classes)
  kept = data.labelled_fraction(train.labels, given.fraction, seed=config.run.seed)

  def labelled(part: data.ImageDataset) -> dict[str, Any]:
    by_level = {level_name(n): of_class[part.labels] for n, of_class in levels.items()}
    return {"image": part.images, **by_level}

  kept_train = train.subset(kept)
  parts = {"train": kept_train, "validation": splits.validation, "test": splits.test}
  names = {n: text.split(", ") for n, text in _NAMES.get(given.base, {}).items()}
  names[train.num_classes] = list(train.class_names or ())
  return ImageTasks(
    {name: labelled(part) for name, part in parts.items() if part is not None},
    {level_name(n): Task(n, tuple(names.get(n, ()))) for n in levels},
    data.channel_statistics(kept_train.images),
  )
