import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmtl.data import (
  channel_statistics,
  normalize,
  random_crop,
  random_dihedral,
  random_flip,
)

_crop = jax.jit(random_crop, static_argnums=2)
_flip = jax.jit(random_flip)


def _images(dtype=np.uint8, batch=6, height=5, width=7):
  rng = np.random.default_rng(0)
  return rng.integers(1, 255, (batch, height, width, 3)).astype(dtype)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), padding=st.sampled_from([0, 1, 3, 9]))
def test_crop_is_a_window_of_the_padded_image(seed, padding):
  images = np.asarray(_images())
  cropped = np.asarray(_crop(jax.random.key(seed), images, padding))
  padded = np.pad(images, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:3], axis=(1, 2))
  windows = np.moveaxis(windows, 3, -1)  # [B, rows, columns, H, W, C]
  matches = (windows == cropped[:, None, None]).all(axis=(3, 4, 5))
  assert matches.any(axis=(1, 2)).all()


def test_every_shift_is_drawn_independently_for_each_image():
  batch = 4000
  image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
  images = np.tile(image, (batch, 1, 1, 1))
  cropped = np.asarray(_crop(jax.random.key(0), images, 1))
  # The centre pixel tells the shift.
  counts = np.bincount(cropped[:, 1, 1, 0], minlength=10)[1:]
  assert (np.abs(counts / batch - 1 / 9) < 0.02).all()


def test_flip_mirrors_half_of_the_images():
  images = np.tile(_images()[:1], (2000, 1, 1, 1))
  flipped = np.asarray(_flip(jax.random.key(0), images))
  mirrored = (flipped == np.asarray(images)[:, :, ::-1]).all(axis=(1, 2, 3))
  kept = (flipped == np.asarray(images)).all(axis=(1, 2, 3))
  assert (mirrored ^ kept).all()
  assert abs(mirrored.mean() - 0.5) < 0.05


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_flip_is_an_involution(seed):
  key = jax.random.key(seed)
  np.testing.assert_array_equal(_flip(key, _flip(key, _images())), _images())


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.float32, jnp.bfloat16])
def test_dtypes_and_shapes_are_kept(dtype):
  images = _images().astype(dtype)
  for augment in (random_crop, random_flip):
    out = jax.eval_shape(augment, jax.random.key(0), images)
    assert (out.dtype, out.shape) == (images.dtype, images.shape)


def test_inside_scan_under_vmap_equals_one_by_one():
  images = jnp.asarray(_images())

  def augment(key):
    crop, flip = jax.random.split(key)
    return random_flip(flip, random_crop(crop, images, 2))

  keys = jax.random.split(jax.random.key(0), (2, 3))
  scan = jax.vmap(lambda ks: jax.lax.scan(lambda c, k: (c, augment(k)), 0, ks)[1])
  scanned = np.asarray(jax.jit(scan)(keys))
  alone = jax.jit(augment)
  for i in range(2):
    for j in range(3):
      np.testing.assert_array_equal(scanned[i, j], alone(keys[i, j]))


def test_statistics_normalize_to_zero_mean_and_unit_variance():
  images = np.asarray(_images(batch=20))
  mean, std = channel_statistics(images)
  np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-6)
  out = np.asarray(jax.jit(normalize)(images, mean, std))
  assert out.dtype == np.float32
  np.testing.assert_allclose(out.mean(axis=(0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(out.std(axis=(0, 1, 2)), 1, rtol=1e-5)
  constant = np.zeros((2, 2, 2, 1), np.uint8)
  assert np.isfinite(normalize(jnp.asarray(constant), *channel_statistics(constant))).all()


def test_errors():
  images, key = _images(), jax.random.key(0)
  with pytest.raises(ValueError, match=r"images must be \[batch"):
    random_crop(key, images[0])
  with pytest.raises(ValueError, match=r"images must be \[batch"):
    random_flip(key, images[0])
  with pytest.raises(ValueError, match="padding must not be negative"):
    random_crop(key, images, -1)
  with pytest.raises(TypeError, match="normalised already"):
    normalize(images.astype(jnp.float32))
  with pytest.raises(ValueError, match="std must be a scalar or have one value a channel"):
    normalize(images, 0.5, (0.1, 0.2))
  with pytest.raises(TypeError, match="must be uint8"):
    channel_statistics(np.zeros((1, 2, 2, 3)))
  with pytest.raises(ValueError, match="must not be empty"):
    channel_statistics(np.zeros((0, 2, 2, 3), np.uint8))


def test_each_of_the_squares_symmetries_is_drawn_equally_often():
  square = np.arange(9, dtype=np.uint8).reshape(3, 3)
  images = jnp.asarray(np.broadcast_to(square[..., None], (4000, 3, 3, 1)))
  drawn = np.asarray(jax.jit(random_dihedral)(jax.random.key(0), images))[..., 0]
  symmetries = [np.rot90(s, k) for s in (square, square.T) for k in range(4)]
  counts = [(drawn == s).all(axis=(1, 2)).sum() for s in symmetries]
  assert sum(counts) == 4000
  assert min(counts) > 430
  with pytest.raises(ValueError, match="must be square"):
    random_dihedral(jax.random.key(0), jnp.zeros((2, 3, 4, 1)))
