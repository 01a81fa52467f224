"""Losses of maps: reference values, masks, gradients, precision, devices."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxmtl import losses

GOLDEN = np.load(pathlib.Path(__file__).parent / "goldens" / "dense.npz")


@pytest.mark.parametrize("name", ["depth", "normal", "disp"])
def test_pixel_l1_is_the_reference(name, x64):
  got = jax.jit(losses.pixel_l1)(*(GOLDEN[f"{name}/{key}"] for key in ("pred", "target", "valid")))
  np.testing.assert_allclose(got, GOLDEN[f"{name}/loss"], rtol=1e-12)


def test_segmentation_and_pseudo_labels_are_the_reference(x64):
  labels = GOLDEN["seg/labels"]
  got = jax.jit(losses.cross_entropy)(GOLDEN["seg/logits"], labels, labels >= 0)
  np.testing.assert_allclose(got, GOLDEN["seg/loss"], rtol=1e-12)
  args = [GOLDEN[f"unsup/{key}"] for key in ("logits", "labels", "confidence")]
  got = jax.jit(functools.partial(losses.pseudo_label_cross_entropy, threshold=0.97))(*args)
  np.testing.assert_allclose(got, GOLDEN["unsup/loss"], rtol=1e-9)


def maps(channels, seed=0):
  rng = np.random.default_rng(seed)
  outputs, targets = (rng.normal(size=(8, 5, 6, channels)).astype(np.float32) for _ in range(2))
  return outputs, targets, rng.random((8, 5, 6)) < 0.7


@functools.cache
def value_and_grad(loss):
  """Compiled once for all tests."""
  return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("loss", [losses.pixel_l1, losses.cosine_distance])
def test_what_lies_beneath_the_mask_changes_neither_loss_nor_gradient(loss):
  outputs, targets, valid = maps(3)
  run = value_and_grad(loss)
  want = jax.tree.map(np.asarray, run(outputs, targets, valid))
  for garbage in (0.0, 1e30, np.inf, np.nan):
    other = np.where(valid[..., None], targets, garbage).astype(np.float32)
    jax.tree.map(np.testing.assert_array_equal, run(outputs, other, valid), want)
  np.testing.assert_allclose(loss(outputs, other, valid), want[0], rtol=1e-6)  # known values
  assert not want[1][~valid].any()
  assert want[1][valid].any()


@pytest.mark.parametrize("loss", [losses.pixel_l1, losses.cosine_distance])
def test_nothing_valid_is_0_without_a_gradient(loss):
  outputs, targets, valid = maps(3)
  value, grad = value_and_grad(loss)(outputs, targets, np.zeros_like(valid))
  assert float(value) == 0
  assert not np.asarray(grad).any()


def test_an_ignored_label_is_one_in_all_channels():
  outputs, targets, valid = maps(3)
  targets[~valid] = 0
  targets[0, 0, 0] = (0, 0, 1)  # a normal along an axis is a label
  valid[0, 0, 0] = True
  for loss in (losses.pixel_l1, losses.cosine_distance):
    np.testing.assert_allclose(loss(outputs, targets, ignore=0), loss(outputs, targets, valid))
  targets[~valid] = np.nan
  np.testing.assert_allclose(
    losses.pixel_l1(outputs, targets, ignore=np.nan), losses.pixel_l1(outputs, targets, valid)
  )
  with pytest.raises(ValueError, match=r"targets must be finite numbers, got .*nan"):
    losses.pixel_l1(outputs, targets)


def test_weights_and_precision():
  outputs, targets, valid = maps(1)
  weights = np.where(valid, 2.0, 0.0).astype(np.float32)
  want = float(losses.pixel_l1(outputs, targets, valid))
  assert float(losses.pixel_l1(outputs, targets, weights=weights)) == pytest.approx(want)
  low = jax.jit(losses.pixel_l1)(outputs.astype(jnp.bfloat16), targets, valid)
  assert low.dtype == jnp.float32
  assert float(low) == pytest.approx(want, rel=1e-2)
  with pytest.raises(ValueError, match="targets must have the shape of outputs"):
    losses.pixel_l1(outputs, targets[..., 0], valid)


def test_cosine_distance_is_0_to_2_whatever_the_length():
  normal, run = np.array([[0.0, 0.6, 0.8]], np.float32), value_and_grad(losses.cosine_distance)
  assert float(run(5 * normal, normal)[0]) == pytest.approx(0, abs=1e-6)
  assert float(run(-normal, normal)[0]) == pytest.approx(2)
  value, grad = run(0 * normal, normal)
  assert float(value) == 1
  assert np.isfinite(grad).all()


def test_sharded_losses_are_those_of_one_device(mesh):
  outputs, targets, valid = maps(3)
  rows = NamedSharding(mesh, PartitionSpec("data"))
  spread = [jax.device_put(x, rows) for x in (outputs, targets, valid)]
  run = value_and_grad(losses.pixel_l1)
  got, want = run(*spread), run(outputs, targets, valid)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want)


def pseudo(logits, labels, confidence, threshold):
  """The formula, pixel by pixel."""
  total, count = 0.0, 0
  for image, classes, sure in zip(logits, labels, confidence, strict=True):
    labelled = (classes >= 0).sum()
    eta = (sure >= threshold).sum() / labelled if labelled else 0
    for pixel in np.ndindex(classes.shape):
      if classes[pixel] >= 0:
        z = image[pixel].astype(float)
        total += eta * (np.log(np.exp(z).sum()) - z[classes[pixel]])
        count += 1
  return total / max(count, 1)


def test_pseudo_labels_follow_the_formula_and_void_images_count_nothing():
  rng = np.random.default_rng(2)
  logits = rng.normal(size=(3, 4, 5, 6)).astype(np.float32)
  labels, confidence = rng.integers(-1, 6, (3, 4, 5)), rng.random((3, 4, 5)).astype(np.float32)
  labels[2] = -1
  fn = jax.jit(lambda *args: losses.pseudo_label_cross_entropy(*args, threshold=0.3))
  np.testing.assert_allclose(
    fn(logits, labels, confidence), pseudo(logits, labels, confidence, 0.3), rtol=1e-5
  )
  assert float(fn(logits, np.full_like(labels, -1), confidence)) == 0
  with pytest.raises(ValueError, match="threshold must be between 0 and 1, got 97"):
    losses.pseudo_label_cross_entropy(logits, labels, confidence, threshold=97)
  with pytest.raises(ValueError, match="labels must be classes from 0 to 5, got 7"):
    losses.pseudo_label_cross_entropy(logits, np.full_like(labels, 7), confidence)
  with pytest.raises(ValueError, match="labels and confidence must have the shape"):
    losses.pseudo_label_cross_entropy(logits, labels[0], confidence)
