"""Edges within a tolerance: thinning, counts, and the F-measure of the best threshold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from jaxmtl._thinning import thinned
from jaxmtl.metrics import edge_counts, ods_f


def blobs(count=2, size=(20, 28), seed=0):
  """Smooth maps in 0 .. 1."""
  rng = np.random.default_rng(seed)
  smooth = np.stack([ndimage.gaussian_filter(rng.normal(size=size), 2) for _ in range(count)])
  return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def outlines(maps):
  """Borders of their upper halves."""
  return np.stack([thinned(ndimage.laplace((m > 0.5).astype(int)) != 0) for m in maps])


def test_lines_become_thin_and_stay_whole():
  mask = blobs(4) > 0.5
  mask[0, 2:5], mask[0, :, 3:7] = True, True  # wide lines that cross
  thin = thinned(mask)
  np.testing.assert_array_equal(thin, jax.jit(thinned)(jnp.asarray(mask)))
  np.testing.assert_array_equal(thin, thinned(thin))
  assert not (thin & ~mask).any()
  around = np.ones((3, 3))
  for before, after in zip(mask, thin, strict=True):
    assert ndimage.label(before, around)[1] == ndimage.label(after, around)[1]
    # No block of four pixels is left.
    assert not (after[1:, 1:] & after[:-1, 1:] & after[1:, :-1] & after[:-1, :-1]).any()


def test_counts_are_those_of_distances():
  labels = outlines(blobs()).astype(int)
  labels[1, :, :4] = -1
  probabilities = blobs(seed=1)
  found = edge_counts(probabilities, labels, thresholds=3, tolerance=0.06)
  reach = 0.06 * np.hypot(20, 28)
  for i, threshold in enumerate((0.25, 0.5, 0.75)):
    truth = np.stack([thinned(m == 1) for m in labels])
    said = np.stack([thinned(m) for m in (probabilities >= threshold) & (labels >= 0)])
    near = [
      np.stack([ndimage.distance_transform_edt(~m) <= reach for m in maps])
      for maps in (truth, said)
    ]
    matched = np.minimum((said & near[0]).sum((1, 2)), (truth & near[1]).sum((1, 2))).sum()
    want = said.sum(), truth.sum(), matched
    assert [int(one[i]) for one in found] == list(want)


def test_it_is_not_below_one_to_one_matching():
  """Of the benchmark's kind: as many pairs within the distance as there can be."""
  truth, said = outlines(blobs(1))[0], outlines(blobs(1, seed=0) + 0.04)[0]
  tolerance = 0.05
  first, second = np.argwhere(said), np.argwhere(truth)
  near = np.hypot(*(first[:, None] - second[None]).transpose(2, 0, 1)) <= tolerance * np.hypot(
    20, 28
  )
  pairs = near[linear_sum_assignment(near, maximize=True)].sum()
  exact = 2 * pairs / (len(first) + len(second))
  ours = ods_f(edge_counts(said[None] * 0.9, truth[None].astype(int), tolerance=tolerance))
  assert 0.5 < exact <= ours <= exact + 0.05


def test_the_best_threshold_of_the_whole_set_counts():
  counts = [np.array([[8, 4], [4, 4], [4, 3]]), np.array([[4, 0], [4, 4], [4, 0]])]
  assert ods_f(sum(counts)) == pytest.approx(2 * 8 / (12 + 8))  # not each image's own
  both = ods_f(np.stack(counts, axis=1))  # runs in front
  np.testing.assert_allclose(both, [3 / 4, 1.0])
  assert np.isnan(ods_f(np.zeros((3, 5))))
  assert ods_f([[0, 0], [3, 3], [0, 0]]) == 0


@pytest.mark.parametrize(
  ("shapes", "options", "message"),
  [
    (((1, 4, 4, 1), (1, 4, 4)), {}, r"both be \[B, H, W\], got \(1, 4, 4, 1\)"),
    (((1, 4, 4),) * 2, {"thresholds": 0}, "thresholds must be at least 1 .* got 0"),
    (((1, 4, 4),) * 2, {"tolerance": -1.0}, "tolerance from 0 to 1, got 99 and -1.0"),
    (((1, 4, 4),) * 2, {"tolerance": np.nan}, "tolerance from 0 to 1, got 99 and nan"),
  ],
)
def test_what_does_not_fit(shapes, options, message):
  maps = np.zeros(shapes[0]), np.zeros(shapes[1], int)
  with pytest.raises(ValueError, match=message):
    edge_counts(*maps, **options)


def test_values_that_cannot_be():
  label = np.zeros((1, 4, 4), int)
  label[:, :, 2] = 1
  with pytest.raises(ValueError, match=r"labels must be 1 on edges, .* got 255"):
    edge_counts(label * 1.0, label * 255)
  with pytest.raises(ValueError, match=r"probabilities must be in 0 \.\. 1, got -6"):
    edge_counts(label * 12.0 - 6, label)
  with pytest.raises(TypeError, match="labels must be integer"):
    edge_counts(label * 1.0, label * 0.5)
  # Of a compiled step a label that is none is void, as below 0.
  compiled = jax.jit(functools.partial(edge_counts, thresholds=1))
  sure = np.ones((1, 4, 4), np.float32)
  np.testing.assert_array_equal(compiled(sure, label * 7), compiled(sure, -label))
