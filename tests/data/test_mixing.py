"""CutOut, CutMix and ClassMix: masks, partners, labels and confidences together."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxmtl import data
from jaxmtl.data import PseudoLabelled

KEY, SIZE, CLASSES = jax.random.key(0), (8, 10), 5


def batch(count=4):
  """Images whose pixels say which image, row and column they are from."""
  rng = np.random.default_rng(0)
  label = rng.integers(-1, CLASSES, (count, *SIZE)).astype(np.int32)
  place = np.arange(count * SIZE[0] * SIZE[1], dtype=np.float32).reshape(count, *SIZE)
  return PseudoLabelled(np.stack([place, -place], -1), label, place / np.float32(place.size))


def image_of(mixed):
  """Which image each pixel is from; it must be at its own place, with its label and confidence."""
  given = batch()
  flat = np.asarray(mixed.image[..., 0]).astype(int)
  source, place = np.divmod(flat, SIZE[0] * SIZE[1])
  np.testing.assert_array_equal(place, np.arange(SIZE[0] * SIZE[1]).reshape(1, *SIZE) + 0 * place)
  np.testing.assert_array_equal(mixed.image[..., 1], -mixed.image[..., 0])
  for name in ("label", "confidence"):
    whole = np.asarray(getattr(given, name)).reshape(-1)
    np.testing.assert_array_equal(getattr(mixed, name), whole[flat])
  return source


def boxes(masks):
  """Height, width, top and left of the box in each mask, which must be one."""
  found = []
  for mask in masks:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    high, wide = len(rows), len(columns)
    assert (
      mask.sum() == high * wide == mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].size
    )
    found.append((high, wide, rows[0], columns[0]))
  return np.array(found)


def test_cutmix_takes_a_box_of_the_next_image():
  given = batch()
  mix = jax.jit(jax.vmap(lambda key: data.cutmix(key, given)))
  all_mixed = mix(jax.random.split(KEY, 400))
  every = []
  for i in range(400):
    source = image_of(jax.tree.map(lambda x, i=i: np.asarray(x[i]), all_mixed))
    taken = source == (np.arange(4)[:, None, None] + 1) % 4
    assert (taken | (source == np.arange(4)[:, None, None])).all()
    every.append(taken)
  high, wide, top, left = boxes(np.concatenate(every)).T
  np.testing.assert_array_equal(high, (SIZE[0] * SIZE[1] // 2) // wide)
  # Widths from half to all, each as often; places uniform among those that fit.
  assert stats.chisquare(np.bincount(wide, minlength=10)[6:10]).pvalue > 1e-3
  for size, length, start in ((SIZE[0], high, top), (SIZE[1], wide, left)):
    for one in set(length):
      counts = np.bincount(start[length == one], minlength=size - one + 1)
      assert len(counts) == size - one + 1
      assert stats.chisquare(counts).pvalue > 1e-4


def test_cutout_leaves_void():
  given = batch()._replace(image=batch().image + 1000)  # no pixel is 0
  out = jax.tree.map(np.asarray, jax.jit(data.cutout)(KEY, given))
  hole = np.asarray(out.confidence == 0) & (np.asarray(given.confidence) > 0)
  boxes(np.asarray((out.image == 0).all(-1) & (out.label == -1)))
  assert hole.any(axis=(1, 2)).all()
  assert (np.asarray(out.label)[hole] == -1).all()
  rest = ~np.asarray((out.image == 0).all(-1))
  for new, old in zip(out, given, strict=True):
    np.testing.assert_array_equal(np.asarray(new)[rest], np.asarray(old)[rest])
  # The same boxes as CutMix's.
  mixed = image_of(jax.tree.map(np.asarray, jax.jit(data.cutmix)(KEY, batch())))
  np.testing.assert_array_equal(~rest, mixed != np.arange(4)[:, None, None])


def test_classmix_keeps_half_of_the_classes_void_among_them():
  given, seen = batch(), []
  given.label[0] = 3
  given.label[1, :4], given.label[1, 4:] = 2, -1
  mix = jax.jit(lambda key: data.classmix(key, given, CLASSES))
  for key in jax.random.split(KEY, 20):
    mixed = mix(key)
    source = np.asarray(mixed.image[..., 0]).astype(int) // (SIZE[0] * SIZE[1])
    for i in range(4):
      own = source[i] == i
      assert (source[i][~own] == (i + 1) % 4).all()
      labels = np.asarray(given.label[i])
      kept = {k for k in np.unique(labels) if own[labels == k].all()}
      assert own.sum() == sum((labels == k).sum() for k in kept)  # whole classes or nothing
      assert len(kept) == len(np.unique(labels)) // 2
      if i == 1:
        seen.append(kept == {-1})
  assert 0 < sum(seen) < 20  # void is drawn as any class is


def test_mixing_is_one_program_and_needs_fitting_shapes():
  given = batch()
  jitted = jax.jit(lambda key: (data.cutout(key, given), data.classmix(key, given, CLASSES)))
  jitted(KEY)
  jitted(jax.random.key(1))
  assert jitted._cache_size() == 1
  with pytest.raises(ValueError, match=r"with label and confidence \[B, H, W\], got shapes"):
    data.cutmix(KEY, given._replace(label=given.label[:2]))
  for other in (given.confidence, given.label.astype(np.uint8)):  # of which none is -1
    with pytest.raises(ValueError, match="label must be signed integer classes, got dtype"):
      data.classmix(KEY, given._replace(label=other), CLASSES)
  with pytest.raises(ValueError, match="label must be below num_classes, 3, got 4"):
    data.classmix(KEY, given, 3)
  with pytest.raises(TypeError, match="batch must be a PseudoLabelled, got tuple"):
    data.cutout(KEY, tuple(given))
  with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
    data.classmix(KEY, given, 0)
