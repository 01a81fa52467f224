import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl.data import labelled_fraction, stratified_split

label_vectors = st.lists(st.integers(1, 40), min_size=1, max_size=8).map(
  lambda sizes: np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
)


@pytest.mark.parametrize(("fraction", "each"), [(0.01, 5), (0.02, 10), (0.04, 20), (0.08, 40)])
def test_fractions_of_the_paper_are_balanced(fraction, each):
  labels = np.random.default_rng(1).permutation(np.arange(50_000) % 100)
  chosen = labelled_fraction(labels, fraction, seed=3)
  assert np.bincount(labels[chosen]).tolist() == [each] * 100
  reduced = labels[:40_000]
  assert len(labelled_fraction(reduced, fraction, of=50_000)) == each * 100


@settings(max_examples=60, deadline=None)
@given(
  labels=label_vectors, small=st.floats(0.01, 1), large=st.floats(0.01, 1), seed=st.integers(0, 9)
)
def test_fractions_are_nested_sized_and_close_to_proportional(labels, small, large, seed):
  small, large = sorted((small, large))
  try:
    inner = labelled_fraction(labels, small, seed=seed)
  except ValueError as error:
    assert "leaves" in str(error)  # noqa: PT017
    return
  outer = labelled_fraction(labels, large, seed=seed)
  assert set(inner) <= set(outer)
  assert len(np.unique(inner)) == len(inner) == int(np.floor(small * len(labels) + 0.5 + 1e-9))
  counts, sizes = np.bincount(labels[inner]), np.bincount(labels)
  # Highest averages may leave the quota, but not by a whole example plus rounding of the total.
  assert np.abs(counts - sizes * len(inner) / len(labels)).max() < 1.5


def test_seeds_differ_and_repeat():
  labels = np.arange(1000) % 10
  one, same, two = (labelled_fraction(labels, 0.1, seed=s) for s in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert not np.array_equal(one, two)
  assert one.dtype == np.int64
  np.testing.assert_array_equal(labelled_fraction(labels, 1.0), np.arange(1000))


@settings(max_examples=60, deadline=None)
@given(labels=label_vectors, seed=st.integers(0, 9))
def test_smallest_fraction_named_works(labels, seed):
  tiny = 1e-6
  with pytest.raises(ValueError, match=r"leaves \d+ of \d+ classes without any") as error:
    labelled_fraction(labels, tiny, seed=seed)
  named = float(str(error.value).rsplit(" ", 1)[1].rstrip("."))
  chosen = labelled_fraction(labels, named, seed=seed)
  assert set(labels[chosen]) == set(labels)


def test_fraction_errors():
  labels = np.repeat([0, 1, 2], [100, 100, 2])
  with pytest.raises(ValueError, match=r"fraction 0.02 of 202 .* 1 of 3 classes .*\(2\)"):
    labelled_fraction(labels, 0.02)
  with pytest.raises(ValueError, match=r"is 500, but only 202 are here; at most 0.0202"):
    labelled_fraction(labels, 0.05, of=10_000)
  with pytest.raises(ValueError, match="of must be at least"):
    labelled_fraction(labels, 0.5, of=100)
  for fraction in (0, 1.1, -0.1, float("nan")):
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\]"):
      labelled_fraction(labels, fraction)
  with pytest.raises(ValueError, match="labels must be a non-empty vector"):
    labelled_fraction(np.zeros((2, 2), int), 0.5)


@settings(max_examples=60, deadline=None)
@given(labels=label_vectors.filter(lambda v: len(v) > 3), share=st.floats(0.2, 0.8))
def test_split_is_a_partition(labels, share):
  kept, held_out = stratified_split(labels, share, seed=1)
  np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))
  assert abs(len(held_out) - share * len(labels)) <= 0.5 + 1e-6


def test_split_errors():
  for share in (0, 1, 1.5):
    with pytest.raises(ValueError, match="share must be between 0 and 1"):
      stratified_split(np.arange(10), share)
  with pytest.raises(ValueError, match="examples on both sides"):
    stratified_split(np.arange(10), 0.01)
