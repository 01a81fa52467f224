import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl.labels import (
  LabelReport,
  all_divisions,
  binary_labels,
  describe_labels,
  nearest_label,
  uniform_labels,
)


@settings(max_examples=40, deadline=None)
@given(num_classes=st.integers(2, 30), dim=st.integers(1, 80), seed=st.integers(0, 2**31 - 1))
def test_binary_labels_use_as_many_divisions_as_there_are(num_classes, dim, seed):
  available = 2 ** (num_classes - 1) - 1
  if 2**dim < num_classes:
    with pytest.raises(ValueError, match=f"dim must be at least .*got {dim}"):
      binary_labels(jax.random.key(seed), num_classes, dim)
    return
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    labels = binary_labels(jax.random.key(seed), num_classes, dim)
  assert (labels.shape, labels.dtype) == ((num_classes, dim), jnp.float32)
  report = describe_labels(labels)
  assert report.num_constant == 0
  assert report.num_distinct == min(dim, available)
  assert report.min_hamming > 0


def test_bits_are_fair_and_independent():
  labels = np.asarray(binary_labels(jax.random.key(0), 100))
  assert labels.shape == (100, 4096)
  assert abs(labels.mean() - 0.5) < 0.004
  assert np.abs(labels.mean(axis=1) - 0.5).max() < 0.04
  correlation = np.corrcoef(labels)[np.triu_indices(100, 1)]
  assert abs(correlation.mean()) < 0.002
  assert abs(correlation.std() - 1 / 64) < 0.002


@pytest.mark.filterwarnings("ignore:4 classes have only 7")
@pytest.mark.parametrize("num_classes", [4, 10, 25])
def test_no_class_is_special(num_classes):
  """Few classes are drawn as codes with class 0 fixed; the complement must hide that."""
  labels = [binary_labels(jax.random.PRNGKey(i), num_classes, dim=16) for i in range(200)]
  means = np.mean([np.asarray(bits).mean(axis=1) for bits in labels], axis=0)
  np.testing.assert_allclose(means, 0.5, atol=0.06)


def test_deterministic_in_the_key_and_old_keys_work():
  one, same = (binary_labels(jax.random.key(3), 10, 64) for _ in range(2))
  np.testing.assert_array_equal(one, same)
  np.testing.assert_array_equal(one, binary_labels(jax.random.PRNGKey(3), 10, 64))
  assert not np.array_equal(one, binary_labels(jax.random.key(4), 10, 64))
  with jax.enable_x64(True):
    wide = binary_labels(jax.random.key(3), 10, 64)
  np.testing.assert_array_equal(one, wide)
  assert wide.dtype == jnp.float32


def test_too_many_columns_warn_and_cover_evenly():
  with pytest.warns(UserWarning, match=r"only 7 distinct divisions, so 93 of the 100 columns"):
    labels = binary_labels(jax.random.key(0), 4, 100)
  bits = np.asarray(labels, int)
  codes = np.array([8, 4, 2, 1]) @ (bits ^ bits[:1])
  counts = np.bincount(codes, minlength=8)
  assert counts[0] == 0
  assert set(counts[1:]) == {14, 15}


def test_no_warning_without_need():
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    binary_labels(jax.random.key(0), 4, 7)


def test_barely_enough_bits():
  for num_classes, dim in ((100, 7), (128, 7), (2, 1), (3, 2), (5, 15)):
    report = describe_labels(binary_labels(jax.random.key(0), num_classes, dim))
    assert report.min_hamming > 0


def test_one_class_is_an_error():
  with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
    binary_labels(jax.random.key(0), 1)


@pytest.mark.parametrize("num_classes", [2, 3, 4, 7, 10])
def test_all_divisions_are_all_and_distinct(num_classes):
  divisions = all_divisions(num_classes)
  assert divisions.shape == (num_classes, 2 ** (num_classes - 1) - 1)
  report = describe_labels(divisions)
  assert report[:3] == (divisions.shape[1], 0, 0)
  if num_classes % 2 == 0:
    even = all_divisions(num_classes, even=True)
    assert even.shape[1] == math.comb(num_classes, num_classes // 2) // 2
    assert describe_labels(even)[:3] == (even.shape[1], 0, 0)
    np.testing.assert_array_equal(even.sum(axis=0), num_classes / 2)


def test_the_papers_figure():
  assert all_divisions(4).shape[1] == 7
  assert all_divisions(4, even=True).shape[1] == 3


def test_all_divisions_errors():
  for num_classes in (1, 21):
    with pytest.raises(ValueError, match=f"num_classes must be 2 to 20, got {num_classes}"):
      all_divisions(num_classes)
  with pytest.raises(ValueError, match="even=True needs an even num_classes, got 5"):
    all_divisions(5, even=True)


def test_report():
  labels = jnp.array([[0, 1, 0, 1, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 1]], jnp.float32)
  # Columns 0 and 1 are constant, 3 is the complement of 2.
  assert describe_labels(labels) == LabelReport(2, 1, 2, 1, pytest.approx(2.0))
  with pytest.raises(ValueError, match="only zeros and ones"):
    describe_labels(labels + 0.5)
  with pytest.raises(ValueError, match="at least two classes"):
    describe_labels(labels[:1])


def test_uniform_labels():
  labels = uniform_labels(jax.random.key(0), 10)
  assert (labels.shape, labels.dtype) == ((10, 4096), jnp.float32)
  assert labels.min() >= 0
  assert labels.max() < 80
  assert abs(labels.mean() - 40) < 1
  assert uniform_labels(jax.random.key(0), 3, 5, maxval=1.0).max() < 1
  for options, name in (
    ({"num_classes": 1}, "num_classes"),
    ({"dim": 0}, "dim"),
    ({"maxval": 0.0}, "maxval"),
  ):
    with pytest.raises(ValueError, match=f"{name} must be"):
      uniform_labels(jax.random.key(0), **{"num_classes": 4, **options})


_nearest_label = jax.jit(nearest_label)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), noise=st.sampled_from([0.0, 5.0, 60.0]))
def test_nearest_label_equals_the_definition(seed, noise):
  rng = np.random.default_rng(seed)
  labels = rng.uniform(0, 80, (7, 33)).astype(np.float32)
  classes = rng.integers(0, 7, 12)
  outputs = (labels[classes] + noise * rng.normal(size=(12, 33))).astype(np.float32)
  nearest = _nearest_label(outputs, labels)
  definition = np.square(outputs[:, None] - labels[None]).mean(axis=-1).argmin(axis=1)
  np.testing.assert_array_equal(nearest, definition)
  if noise == 0:
    np.testing.assert_array_equal(nearest, classes)


def test_nearest_label_of_binary_logits_and_bfloat16():
  labels = binary_labels(jax.random.key(0), 10, 256)
  logits = 4 * (2 * labels - 1) + jax.random.normal(jax.random.key(1), labels.shape)
  np.testing.assert_array_equal(nearest_label(jax.nn.sigmoid(logits), labels), np.arange(10))
  low = jax.nn.sigmoid(logits).astype(jnp.bfloat16)
  np.testing.assert_array_equal(nearest_label(low, labels), np.arange(10))


def test_nearest_label_makes_no_large_temporary():
  labels = jax.ShapeDtypeStruct((100, 4096), jnp.float32)
  outputs = jax.ShapeDtypeStruct((128, 4096), jnp.float32)
  compiled = jax.jit(nearest_label).lower(outputs, labels).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * 4096 * 128 * 4


def test_nearest_label_errors():
  with pytest.raises(ValueError, match=r"same dim, got \(2, 3\) and \(4, 5\)"):
    nearest_label(jnp.zeros((2, 3)), jnp.zeros((4, 5)))
