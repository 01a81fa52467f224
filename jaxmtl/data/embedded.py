"""Data sets inside the package: real images without a download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.dataset import ImageDataset
from jaxmtl.data.splits import stratified_split

if TYPE_CHECKING:
  import sklearn.datasets as datasets
else:
  datasets = Optional("sklearn.datasets", "data", __name__)

_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.25  # Of all; of the rest: 60/20/20 %.


def digits(
  validation: float = 0.0, seed: int = 0
) -> tuple[ImageDataset, ImageDataset, ImageDataset]:
  """Load scikit-learn's 1,797 handwritten digits, 8x8, in train, validation and test parts.

  The test part is the same for every seed. `validation` is the share held out of the other 80 %;
  0 stands for a quarter.
  """
  bunch = datasets.load_digits()
  # Values are 0 .. 16.
  images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
  everything = ImageDataset(
    images, bunch.target.astype(np.int32), 10, tuple(str(name) for name in bunch.target_names)
  )
  rest, test = stratified_split(everything.labels, _TEST_SHARE, seed=0)
  train, held_out = stratified_split(everything.labels[rest], validation or _VALIDATION_SHARE, seed)
  return everything.subset(rest[train]), everything.subset(rest[held_out]), everything.subset(test)
