"""Data sets by name: embedded ones, `.npz` files, and prepared TFDS folders."""

import os
from collections.abc import Sequence

import numpy as np

from jaxmtl.data.dataset import ImageDataset, Splits, TaskImages, TaskSplits
from jaxmtl.data.embedded import digits
from jaxmtl.data.npz import read_npz
from jaxmtl.data.resize import resize_all
from jaxmtl.data.splits import stratified_split


def load(
  name: str,
  *,
  data_dir: str | os.PathLike | None = None,
  image_size: int | None = None,
  validation: float = 0.0,
  seed: int = 0,
  label_key: str = "label",
) -> Splits:
  """Load a labelled image data set into host memory.

  Args:
    name: one of

      - `"digits"`: 1,797 handwritten digits of scikit-learn, 8x8x1, inside the package; 60 %
        train, 20 % validation, 20 % test;
      - a path ending in `.npz` with `train_images`, `train_labels`, `test_images`,
        `test_labels` (and `validation_...`), or with `images` and `labels` alone, of which
        a fixed fifth becomes the test set;
      - any name of TensorFlow Datasets, e.g. `"cifar100"`, prepared under `data_dir` as
        array_record. TensorFlow is not needed to read it.
    data_dir: the TFDS folder, which holds `<name>/<version>/`; None: `$TFDS_DATA_DIR`, or
      `~/tensorflow_datasets`.
    image_size: side in pixels to which images are brought: the shorter side is scaled, then the
      centre is cut out. None keeps the size; needed where images differ in size.
    validation: stratified share of the training set to hold out, `0 <= validation < 1`. 0 keeps
      the data set's own validation part, if there is one beside the test part.
    seed: seed of what is held out. The test part never depends on it.
    label_key: which label of a TFDS data set to read, e.g. `"coarse_label"` for CIFAR-100.

  Returns:
    The `Splits`. The test part is the split `test`, or `validation` where there is no labelled
    `test`.

  Raises:
    FileNotFoundError: if the data are not there; the message says how to get them.
    ValueError: if the name or an option is not known, or the content is not as described above.

  Example:
    >>> splits = load("digits")
    >>> len(splits.train), len(splits.validation), len(splits.test), splits.train.images.shape[1:]
    (1078, 360, 359, (8, 8, 1))
  """
  if not 0 <= validation < 1:
    raise ValueError(f"validation must be in [0, 1), got {validation}; 10 % is .1.")
  if image_size is not None and image_size < 1:
    raise ValueError(f"image_size must be at least 1 pixel, got {image_size}.")
  name = os.fspath(name)
  held_out: ImageDataset | None
  if name == "digits":
    train, held_out, test = digits(validation, seed)
  else:
    if name.endswith(".npz"):
      train, held_out, test = read_npz(name)
    else:
      # Imported here: it takes a second, and embedded data should not pay for it.
      from jaxmtl.data.tfds_source import read_tfds

      train, held_out, test = read_tfds(name, data_dir, image_size, label_key)
    if validation:
      kept, chosen = stratified_split(train.labels, validation, seed)
      train, held_out = train.subset(kept), train.subset(chosen)
  if image_size is not None:
    train, test = _resized(train, image_size), _resized(test, image_size)
    held_out = None if held_out is None else _resized(held_out, image_size)
  shapes = {part: d.images.shape[1:] for part, d in (("validation", held_out), ("test", test)) if d}
  if other := [part for part, shape in shapes.items() if shape != train.images.shape[1:]]:
    raise ValueError(
      f"images of {name!r} must have one size and colours, got {train.images.shape[1:]} for train "
      f"and {shapes[other[0]]} for {other[0]}; give an image_size, such as --image-size 64, where "
      "sizes differ."
    )
  return Splits(train, held_out, test, name)


def load_tasks(
  name: str,
  label_keys: Sequence[str],
  *,
  data_dir: str | os.PathLike | None = None,
  image_size: int | None = None,
  validation: float = 0.0,
  seed: int = 0,
) -> TaskSplits:
  """Load a TFDS data set with several labels an image, each a task.

  Args:
    name: any name of TensorFlow Datasets, as in `load`.
    label_keys: which labels to read: class labels or truth values by name, or dicts of these, which
      stand for all that they hold: `("label", "coarse_label")` for CIFAR-100, `("attributes",)`
      for the 40 binary attributes of `celeb_a`.
    data_dir: as in `load`.
    image_size: as in `load`; needed where images differ in size.
    validation: share of the training set to hold out, stratified by the first label; 0 keeps the
      data set's own validation part, if there is one.
    seed: seed of what is held out.

  Returns:
    The `TaskSplits`, tasks in the order of `label_keys`, those of a dict sorted by name.

  Raises:
    FileNotFoundError: as `load`.
    ValueError: as `load`, or if a label does not exist.

  Example:
    >>> load_tasks("celeb_a", ("attributes",), data_dir="data")  # doctest: +SKIP
  """
  if not 0 <= validation < 1:
    raise ValueError(f"validation must be in [0, 1), got {validation}; 10 % is .1.")
  from jaxmtl.data.tfds_source import read_tfds_labels

  train, held_out, test, features = read_tfds_labels(name, data_dir, image_size, label_keys)
  if validation:
    kept, chosen = stratified_split(train[1][:, 0], validation, seed)
    train, held_out = [[values[part] for values in train] for part in (kept, chosen)]

  def tasks(part: Sequence[np.ndarray]) -> TaskImages:
    images, labels = part
    images = images if image_size is None else resize_all(images, image_size)
    return TaskImages(images, {task: labels[:, i] for i, task in enumerate(features)})

  return TaskSplits(
    tasks(train),
    None if held_out is None else tasks(held_out),
    tasks(test),
    {task: feature.num_classes for task, feature in features.items()},
  )


def _resized(data: ImageDataset, size: int) -> ImageDataset:
  images = resize_all(data.images, size)
  return ImageDataset(images, data.labels, data.num_classes, data.class_names)
