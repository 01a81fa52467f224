"""Data of the MAXL experiment: images with the labels of all levels of their hierarchy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.maxl_config import Config
from jaxmtl import data


def level_name(classes: int) -> str:
  """The name of a level's task."""
  return f"level_{classes}"


def load_parts(config: Config) -> tuple[data.TaskSplits, dict[int, np.ndarray]]:
  """Loads the data set.

  Args:
    config: the experiment's options.

  Returns:
    The parts, labelled on all levels, and the levels, as `data.class_levels` gives them.

  Raises:
    ValueError: if an option does not fit, or the images are too small for the backbone.
    FileNotFoundError: if the data are not there; the message says how to get them.
  """
  options: dict[str, Any] = {"validation": config.validation, "seed": config.seed}
  if config.base == "ucf101":
    splits = data.load_ucf101(config.data_dir, image_size=config.image_size or 32, **options)
  else:
    options["image_size"] = config.image_size
    splits = data.load(config.dataset, data_dir=config.data_dir, **options)
  levels = data.class_levels(config.dataset, splits.train.num_classes)
  kept = data.labelled_fraction(splits.train.labels, config.fraction, seed=config.seed)
  parts = data.TaskSplits(
    _labelled(splits.train.subset(kept), levels),
    None if splits.validation is None else _labelled(splits.validation, levels),
    _labelled(splits.test, levels),
    {level_name(n): n for n in levels},
  )
  backbone, images = config.build_backbone(), parts.train.images[:2]
  jax.eval_shape(backbone.init, jax.random.key(0), jnp.zeros(images.shape))  # raises if too small
  return parts, levels


def _labelled(part: data.ImageDataset, levels: dict[int, np.ndarray]) -> data.TaskImages:
  return data.TaskImages(
    part.images, {level_name(n): of_class[part.labels] for n, of_class in levels.items()}
  )
