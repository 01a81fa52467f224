"""Digits with a mass: an embedded data set for classification and regression."""

from jaxmtl.data.dataset import ImageDataset
from jaxmtl.data.embedded import digits
from jaxmtl.data.properties import PropertyImages, PropertySplits

_LIGHTEST, _RATIO = 5.0, 1.25


def digits_ink(seed: int = 0) -> PropertySplits:
  r"""The digits of scikit-learn, each class written with an ink of its own, and their mass.

  .. math:: y = \rho_c \sum_p x_p, \quad \rho_c = 5 \cdot 1.25^c

  x are the image's pixels in 0..1 (black to white), c is its class, 0 to 9, and rho the mass of a
  fully inked pixel. A class's heaviest digit weighs up to twice as much as its lightest one, so
  that neighbouring classes overlap, while class 9 is about 7.5 times as heavy as class 0. The
  property has a range of its own in each class, and follows from the image without noise.

  Args:
    seed: seed of what is held out for validation. The test part never depends on it.

  Returns:
    The `PropertySplits`: 1,078 images of 8x8x1 for training, 360 for validation, 359 for test.

  Example:
    >>> from jaxmtl.data import digits_ink
    >>> train = digits_ink().train
    >>> masses = [train.values[train.classes == c] for c in (0, 9)]
    >>> [(round(float(m.min())), round(float(m.max()))) for m in masses]
    [(80, 125), (599, 919)]
  """

  def weigh(part: ImageDataset) -> PropertyImages:
    ink = part.images.sum((1, 2, 3), dtype="float64") / 255
    return PropertyImages(part.images, part.labels, _LIGHTEST * _RATIO**part.labels * ink)

  train, validation, test = digits(seed=seed)
  names = train.class_names or ()
  return PropertySplits(
    weigh(train), weigh(validation), weigh(test), names, "ink mass", "digits_ink"
  )
