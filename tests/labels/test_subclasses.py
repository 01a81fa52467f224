"""Auxiliary classes within primary classes: even shares, random draws, clusters."""

import numpy as np
import pytest

from jaxmtl import labels

PRIMARY = np.repeat([0, 1, 2], [7, 12, 5])


def test_balanced_psi_is_even_and_random_by_one():
  drawn = np.stack([labels.balanced_psi(3, 10, seed) for seed in range(20)])
  assert np.all(drawn.sum(1) == 10)
  assert np.all((drawn == 3) | (drawn == 4))
  assert set(drawn.argmax(1)) == {0, 1, 2}
  assert labels.balanced_psi(4, 8).tolist() == [2, 2, 2, 2]
  with pytest.raises(ValueError, match="at least the number of primary classes, 3, got 2"):
    labels.balanced_psi(3, 2)


@pytest.mark.parametrize("make", ["random", "kmeans"])
def test_labels_stay_in_the_block_of_their_class(make):
  psi = (2, 3, 1)
  if make == "random":
    found = labels.random_subclasses(PRIMARY, psi, seed=1)
    assert np.bincount(found).max() <= 5  # 7 by 2: 4 + 3; 12 by 3: 4 each; 5
    assert np.any(found != labels.random_subclasses(PRIMARY, psi, seed=2))
  else:
    features = np.random.default_rng(0).normal(size=(len(PRIMARY), 3))
    found = labels.kmeans_subclasses(features, PRIMARY, psi, seed=1)
  block = np.repeat([0, 1, 2], psi)
  np.testing.assert_array_equal(block[found], PRIMARY)
  assert set(found) == set(range(6))


def test_kmeans_finds_clusters_within_each_class():
  centres = np.array([[0.0, 0.0], [9.0, 0.0]])
  which = np.tile([0, 1], 12)
  features = centres[which] + np.random.default_rng(0).normal(size=(24, 2))
  primary = np.repeat([0, 1], 12)
  found = labels.kmeans_subclasses(features, primary, (2, 2))
  for c in (0, 1):
    mine = found[primary == c]
    assert len({(w, k) for w, k in zip(which[primary == c], mine, strict=True)}) == 2


def test_fewer_examples_than_clusters():
  found = labels.kmeans_subclasses(np.eye(2), np.array([1, 1]), (3, 4))
  assert found.tolist() in ([3, 4], [4, 3])


def test_bad_psi():
  with pytest.raises(ValueError, match=r"psi has 2 primary classes, so primary must be in 0 .. 1"):
    labels.random_subclasses(PRIMARY, (2, 2))
  with pytest.raises(ValueError, match="psi must hold one integer of at least 1"):
    labels.kmeans_subclasses(np.eye(3), np.arange(3), (1, 0, 1))
