"""Which images are labelled, and which pixels, where labels are few."""

import numpy as np
import pytest
from scipy import ndimage

from jaxmtl import data


def scenes(count=60, classes=7, seed=0):
  """Labels of blobs; the last class is rare."""
  rng = np.random.default_rng(seed)
  labels = np.zeros((count, 24, 32), int)
  for one in labels:
    for c in rng.choice(classes - 1, 3, replace=False):
      y, x = rng.integers(0, 20), rng.integers(0, 24)
      one[y : y + 8, x : x + 12] = c
    one[:2, :2] = -1
  labels[rng.choice(count, 3, replace=False), 20:, 20:] = classes - 1
  return labels


def test_classes_present():
  labels = np.array([[[0, 1, -1]], [[2, 2, 2]]])
  np.testing.assert_array_equal(data.classes_present(labels, 3), [[1, 1, 0], [0, 0, 1]])
  with pytest.raises(ValueError, match="image 1 has the label 2, but there are 2 classes"):
    data.classes_present(labels, 2)


@pytest.mark.parametrize("seed", range(3))
def test_each_image_has_a_class_that_was_rarest_when_it_was_taken(seed):
  present = data.classes_present(scenes(), 7)
  drawn = data.balanced_images(present, 10, at_least=3, seed=seed)
  assert len(set(drawn.tolist())) == 10
  seen, left = np.zeros(7, int), present & (present.sum(1, keepdims=True) >= 3)
  for i in drawn:
    assert present[i].sum() >= 3
    there = left.any(axis=0)  # the rarest class may have no image any more
    assert present[i][there & (seen == seen[there].min())].any()
    seen += present[i]
    left[i] = False
  assert present[drawn].any(axis=0).all()
  np.testing.assert_array_equal(drawn, data.balanced_images(present, 10, at_least=3, seed=seed))
  assert set(drawn) != set(data.balanced_images(present, 10, at_least=3, seed=seed + 10))


def test_all_images_can_be_drawn_and_classes_that_none_has_do_not_count():
  present = np.zeros((5, 4), bool)
  present[:, 0] = present[0, 1] = True
  assert sorted(data.balanced_images(present, 5)) == list(range(5))
  assert 0 in data.balanced_images(present, 2)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"count": 6}, "count must be between 1 and 5, the images, got 6"),
    ({"count": 0}, "got 0"),
    ({"count": 2, "at_least": 0}, "at_least must be at least 1, got 0"),
    ({"count": 3, "at_least": 2}, "but 2 of 5 images have 2 classes or more"),
  ],
)
def test_draws_that_cannot_be(options, message):
  present = np.ones((5, 2), bool)
  present[2:, 1] = False
  with pytest.raises(ValueError, match=message):
    data.balanced_images(present, **options)


@pytest.mark.parametrize("share", [0, 0.01, 0.05, 0.25, 1])
def test_each_class_keeps_its_share(share):
  labels = scenes(4)[3]
  left = data.partial_labels(labels, share, seed=1)
  assert left.dtype == np.int32
  assert np.all((left == -1) | (left == labels))
  for c in np.unique(labels[labels >= 0]):
    region, spot = labels == c, left == c
    wanted = max(1, share * region.sum())
    assert wanted <= spot.sum() <= region.sum()
    if share < 0.1:
      assert ndimage.label(spot, np.ones((3, 3)))[1] == 1
  if share == 1:
    np.testing.assert_array_equal(left, labels)


def test_a_spot_grows_by_a_square_and_no_further_than_it_must():
  left = data.partial_labels(np.zeros((101, 101), int), 0.05, seed=3) == 0
  rows, columns = (np.flatnonzero(left.any(axis)) for axis in (1, 0))
  assert left[np.ix_(rows, columns)].all()
  assert left.sum() >= 0.05 * 101**2
  before = [
    len(at) - 2 * (int(at[0] > 0) + int(at[-1] < 100)) for at in (rows, columns)
  ]  # one step less
  assert before[0] * before[1] < 0.05 * 101**2


def test_spots_are_drawn_by_the_seed_and_reach_other_parts_of_a_class():
  labels = np.zeros((9, 30), int)
  labels[:, 10:20] = 1
  a, b = (data.partial_labels(labels, 0, seed=seed) for seed in (0, 1))
  assert not np.array_equal(a, b)
  np.testing.assert_array_equal(a, data.partial_labels(labels, 0, seed=0))
  whole = data.partial_labels(labels, 0.9)
  assert (whole[:, :10] == 0).any()
  assert (whole[:, 20:] == 0).any()
  assert np.all(data.partial_labels(np.full((3, 3), -1), 0.5) == -1)


@pytest.mark.parametrize(
  ("labels", "share", "message"),
  [
    (np.zeros((2, 2), int), 1.5, "share must be between 0 and 1, got 1.5"),
    (np.zeros((1, 2, 2), int), 0.5, r"labels must be one map of integers, \[H, W\]"),
    (np.zeros((2, 2)), 0.5, "got float64"),
  ],
)
def test_partial_labels_that_cannot_be(labels, share, message):
  with pytest.raises(ValueError, match=message):
    data.partial_labels(labels, share)
