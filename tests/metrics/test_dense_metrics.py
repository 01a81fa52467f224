"""Metrics of maps: against slow code and reference values, masked, inside jit, sharded."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from jaxmtl import metrics

GOLDEN = np.load(pathlib.Path(__file__).parent.parent / "goldens" / "dense.npz")


def test_reference_values(x64):
  confusion = sum(
    np.asarray(metrics.confusion_matrix(GOLDEN[f"miou/pred_{k}"], GOLDEN[f"miou/labels_{k}"], 5))
    for k in "ab"
  )
  np.testing.assert_array_equal(confusion, GOLDEN["miou/confusion"])

  @jax.jit
  def measured():
    maps = {
      name: [GOLDEN[f"{name}/{k}"] for k in ("pred", "target", "valid")]
      for name in ("depth", "disp", "normal")
    }
    return (
      [metrics.mean_iou(confusion), metrics.pixel_accuracy(confusion)],
      [metrics.absolute_error(*maps[name]) for name in ("depth", "disp")],
      metrics.angular_error(*maps["normal"]),
    )

  of_classes, errors, got = measured()
  want = [GOLDEN["miou/mean"], GOLDEN["miou/accuracy"]]
  np.testing.assert_allclose(of_classes, want, rtol=1e-12)
  want = [GOLDEN["depth/abs_err"], GOLDEN["disp/abs_err"]]
  np.testing.assert_allclose(errors, want, rtol=1e-12)
  want = [GOLDEN["normal/mean_angle"], GOLDEN["normal/median_angle"], *GOLDEN["normal/within"]]
  np.testing.assert_allclose([float(value) for value in got.values()], want, rtol=1e-9)


@functools.partial(jax.jit, static_argnums=2)
def counted(predictions, labels, num_classes):
  found = metrics.confusion_matrix(predictions, labels, num_classes)
  return found, metrics.class_iou(found), metrics.mean_iou(found)


# Few sizes: each is compiled.
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 7]), st.sampled_from([1, 40]))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_a_confusion_matrix_counts(seed, num_classes, size):
  rng = np.random.default_rng(seed)
  labels, predictions = rng.integers(-1, num_classes, size), rng.integers(num_classes, size=size)
  want = np.zeros((num_classes, num_classes), int)
  for label, prediction in zip(labels, predictions, strict=True):
    if label >= 0:
      want[label, prediction] += 1
  found, class_ious, mean = counted(predictions, labels, num_classes)
  np.testing.assert_array_equal(found, want)
  ious = []
  for k in range(num_classes):
    union = want[k].sum() + want[:, k].sum() - want[k, k]
    ious.append(want[k, k] / union if union else np.nan)
  np.testing.assert_allclose(class_ious, ious, rtol=1e-6)
  if not np.isnan(ious).all():
    np.testing.assert_allclose(mean, np.nanmean(ious), rtol=1e-6)


def test_a_matrix_summed_over_a_mesh_is_that_of_one_device(mesh):
  rng = np.random.default_rng(0)
  labels, predictions = rng.integers(-1, 4, (16, 6, 5)), rng.integers(4, size=(16, 6, 5))
  rows = NamedSharding(mesh, PartitionSpec("data"))
  count = jax.jit(lambda p, y: metrics.confusion_matrix(p, y, 4))
  spread = count(jax.device_put(predictions, rows), jax.device_put(labels, rows))
  np.testing.assert_array_equal(spread, count(predictions, labels))


def test_what_is_no_class_raises_or_under_jit_is_not_counted():
  predictions, labels = np.array([0, 1, 1]), np.array([0, 255, 1])
  with pytest.raises(ValueError, match=r"labels must be classes from 0 to 1, got 255 \(1 of 3\)"):
    metrics.confusion_matrix(predictions, labels, 2)
  with pytest.raises(ValueError, match="predictions must be classes from 0 to 1, got 2"):
    metrics.confusion_matrix(predictions + 1, np.array([0, 1, 1]), 2)
  with pytest.raises(ValueError, match="of logits take argmax"):
    metrics.confusion_matrix(jnp.zeros((3, 2)), labels, 2)
  want = [[1, 0], [0, 1]]
  assert (
    jax.jit(metrics.confusion_matrix, static_argnums=2)(predictions, labels, 2).tolist() == want
  )
  assert metrics.confusion_matrix(predictions, labels, 2, ignore=255).tolist() == want
  mask = np.array([True, False, True])
  assert metrics.confusion_matrix(predictions, labels, 2, mask).tolist() == want
  as_numbers = jax.jit(lambda m: metrics.confusion_matrix(predictions, labels, 2, m))
  assert as_numbers(jnp.array([1, 0, 0])).tolist() == [[1, 0], [0, 0]]


def test_a_prediction_that_is_no_number_shows():
  normals = np.eye(3, dtype=np.float32)
  found = metrics.angular_error(normals * np.float32([[1], [np.nan], [np.nan]]), normals)
  assert np.isnan([found["mean"], found["median"]]).all()
  assert found["within_30"] == pytest.approx(1 / 3)


def test_nothing_valid_is_no_number():
  @jax.jit
  def measured(maps, nothing):
    return (
      metrics.absolute_error(maps, maps, nothing),
      metrics.angular_error(maps, maps, nothing),
      metrics.mean_iou(np.zeros((3, 3), int)),
      metrics.accuracy(jnp.zeros((2, 3)), jnp.array([-1, -1]), ignore=-1),
    )

  found = measured(np.ones((2, 3, 3, 3), np.float32), np.zeros((2, 3, 3), bool))
  assert len(leaves := jax.tree.leaves(found)) > 4
  assert np.isnan(leaves).all()


def test_what_lies_beneath_a_mask_changes_nothing():
  rng = np.random.default_rng(1)
  outputs, targets = (rng.normal(size=(2, 4, 4, 3)).astype(np.float32) for _ in range(2))
  targets[:, :2] = 0
  other = targets.copy()
  other[:, :2] = np.nan
  valid = (targets != 0).any(-1)
  for measure in (metrics.absolute_error, metrics.angular_error):
    run = jax.jit(measure)
    want = run(outputs, targets, valid)
    jax.tree.map(np.testing.assert_array_equal, run(outputs, other, valid), want)
    ignoring = jax.jit(functools.partial(measure, ignore=0))(outputs, targets)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), ignoring, want)
  with pytest.raises(ValueError, match="targets must be finite numbers"):
    metrics.absolute_error(outputs, other)


def test_angles_of_any_length_and_of_the_same_direction_are_exact():
  normal, run = np.array([[0.6, 0.0, 0.8]], np.float32), jax.jit(metrics.angles)
  assert float(run(3 * normal, normal)[0]) < 0.05
  assert float(run(-normal, normal)[0]) == pytest.approx(180, abs=0.05)
  assert float(run(0 * normal, normal)[0]) == 90


def test_accuracy_counts_labelled_examples():
  logits = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], np.float32)
  labels, weights = np.array([1, 1, 1, -1]), np.array([1.0, 2.0, 0.0, 1.0], np.float32)
  assert float(metrics.accuracy(logits, labels, ignore=-1)) == pytest.approx(2 / 3)

  @jax.jit
  def others():
    weighted = metrics.accuracy(logits, labels, weights=weights, ignore=-1)
    return weighted, metrics.accuracy(jnp.full((2, 2), jnp.nan), jnp.zeros(2, int))

  weighted, of_nan = others()
  assert float(weighted) == pytest.approx(1 / 3)
  assert float(of_nan) == 0
  with pytest.raises(ValueError, match="labels must be classes from 0 to 1, got -1"):
    metrics.accuracy(logits, labels)


def test_sums_on_the_host_may_be_larger_than_32_bits():
  sums = np.array([[3_000_000_000, 1_500_000_000], [0, 3_000_000_000]])
  np.testing.assert_allclose(metrics.mean_iou(sums), 2 / 3, rtol=1e-6)
  np.testing.assert_allclose(metrics.pixel_accuracy(sums), 0.8, rtol=1e-6)
  with pytest.raises(
    TypeError, match="predictions must be integer class indices, got dtype float32"
  ):
    metrics.confusion_matrix(jnp.array([0.0, 1.7]), jnp.array([0, 1]), 2)
