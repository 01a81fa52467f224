"""Colour jitter and blur against Pillow's enhancers and slow code."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxmtl import data
from jaxmtl.data.photometric import turn_hue

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(1).random((3, 7, 9, 3), np.float32)
ONLY = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "probability": 1.0}


def compiled(function, images=IMAGES, **options):
  """In one program; one operation at a time would be as many."""
  return np.asarray(jax.jit(functools.partial(function, **options))(KEY, images))


def jitter(**options):
  return compiled(data.color_jitter, **{**ONLY, **options})


def test_nothing_is_changed_where_nothing_is_asked():
  np.testing.assert_allclose(jitter(), IMAGES, atol=1e-6)
  np.testing.assert_array_equal(compiled(data.color_jitter, probability=0.0), IMAGES)
  np.testing.assert_array_equal(compiled(data.gaussian_blur, probability=0.0), IMAGES)
  many = np.tile(IMAGES, (200, 1, 1, 1))
  some = compiled(data.color_jitter, many, probability=0.8)
  changed = np.abs(some - many).max(axis=(1, 2, 3)) > 0
  assert 0.7 < changed.mean() < 0.9


def factor(new, old, middle):
  """By how much the distance from the middle grew, image by image, where nothing was clipped."""
  inside = (new > 0) & (new < 1) & (np.abs(old - middle) > 0.05)
  found = []
  for i in range(len(new)):
    ratios = ((new - middle) / (old - middle))[i][inside[i]]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)
    found.append(ratios[0])
  return np.array(found)


def test_each_change_is_what_it_is_called():
  old = np.asarray(IMAGES)
  grey = (old * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)
  for options, middle in (
    ({"brightness": 0.25}, np.zeros_like(old)),
    ({"contrast": 0.25}, np.broadcast_to(grey.mean((1, 2), keepdims=True), old.shape)),
    ({"saturation": 0.25}, np.broadcast_to(grey, old.shape)),
  ):
    found = factor(jitter(**options), old, middle)
    assert ((found > 0.75) & (found < 1.25)).all()
    assert len(set(found.round(4))) == 3  # each image its own
  turned = jitter(hue=0.25)
  for i in range(3):
    hues = [
      (colorsys.rgb_to_hsv(*b)[0] - colorsys.rgb_to_hsv(*a)[0]) % 1
      for a, b in zip(old[i].reshape(-1, 3), turned[i].reshape(-1, 3), strict=True)
    ]
    np.testing.assert_allclose(hues, hues[0], atol=1e-3)
    assert min(hues[0], 1 - hues[0]) < 0.25
  np.testing.assert_allclose(turned.max(-1), old.max(-1), atol=1e-6)


def test_hue_follows_the_hsv_cone():
  colors = np.random.default_rng(0).random((50, 3))
  colors[:3] = [[0.4, 0.4, 0.4], [0, 0, 0], [1, 1, 0]]
  turns = np.linspace(-0.5, 0.5, 50)
  want = [
    colorsys.hsv_to_rgb((h + t) % 1, s, v)
    for (h, s, v), t in zip((colorsys.rgb_to_hsv(*c) for c in colors), turns, strict=True)
  ]
  got = jax.jit(turn_hue)(colors, turns)
  np.testing.assert_allclose(got, want, atol=2e-6)
  assert np.isfinite(jax.jit(jax.jacobian(turn_hue))(jnp.zeros(3), jnp.zeros(()))).all()


def test_blur_is_a_gaussians():
  got = compiled(data.gaussian_blur, sigma=(0.8, 0.8), probability=1.0)
  want = ndimage.gaussian_filter(IMAGES, (0, 0.8, 0.8, 0), mode="nearest", radius=(0, 3, 3, 0))
  np.testing.assert_allclose(got, want, atol=1e-5)
  wide = compiled(data.gaussian_blur, sigma=(0.15, 1.15), probability=1.0)
  assert (wide.std((1, 2, 3)) < IMAGES.std((1, 2, 3))).all()


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: data.color_jitter(KEY, IMAGES[0]), r"images must be \[batch, height, width, 3\]"),
    (lambda: data.color_jitter(KEY, (IMAGES * 255).astype(np.uint8)), "float, bytes over 255"),
    (lambda: data.color_jitter(KEY, IMAGES, hue=0.6), "hue must be between 0 and 0.5, got 0.6"),
    (lambda: data.gaussian_blur(KEY, IMAGES, sigma=(2, 1)), "sigma must be two numbers above 0"),
    (lambda: data.gaussian_blur(KEY, IMAGES, probability=2), "probability must be between 0 and 1"),
  ],
)
def test_bad_options_are_named(call, message):
  with pytest.raises(ValueError, match=message):
    call()
