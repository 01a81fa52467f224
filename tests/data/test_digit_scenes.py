"""Scenes of digits: what is where, and that parts have nothing in common."""

import numpy as np
import pytest

from jaxmtl import data


def test_what_is_in_a_scene():
  made = data.digit_scenes(30, (32, 40), seed=1, most=3)
  assert made.image.shape == (30, 32, 40, 3)
  assert (made.image.dtype, made.segmentation.dtype) == (np.uint8, np.int8)
  assert set(np.unique(made.segmentation)) == set(range(-1, 11))
  assert made.order.max() <= 3
  assert np.all(made.segmentation[made.order == 0] <= 0)
  assert np.all(made.segmentation[made.order > 0] != 0)
  for labels, order in zip(made.segmentation, made.order, strict=True):
    for place in range(1, order.max() + 1):  # of one digit all pixels are of its class, or an edge
      assert len(set(labels[order == place]) - {-1}) <= 1
  # The ink is brighter than the ground.
  bright = made.image.max(-1)
  assert bright[made.segmentation > 0].mean() > bright[made.segmentation == 0].mean() + 30


def test_the_first_are_the_same_however_many_follow_and_parts_differ():
  few, many = data.digit_scenes(2, (16, 16)), data.digit_scenes(5, (16, 16))
  for a, b in zip(few, many, strict=True):
    np.testing.assert_array_equal(a, b[:2])
  other = data.digit_scenes(2, (16, 16), part="test")
  assert not np.array_equal(few.image, other.image)
  assert not np.array_equal(few.image, data.digit_scenes(2, (16, 16), seed=1).image)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_images": 0}, "num_images must be at least 1"),
    ({"size": (4, 20)}, r"size 8 each way.* got 500, \(4, 20\)"),
    ({"most": 1}, "most 2, got"),
    ({"part": "val"}, "part must be train, validation or test, got 'val'"),
  ],
)
def test_what_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    data.digit_scenes(**options)
