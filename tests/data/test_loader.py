import jax
import numpy as np
import pytest

from jaxmtl.data import arrays, batches, epoch_indices, eval_batches


def _data(size=23):
  images = np.arange(size, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 1), np.uint8)
  return arrays(images, np.arange(size) % 5)


def _seen(epoch):
  return [int(i) for batch in epoch for i in batch["image"][:, 0, 0, 0]]


def test_epoch_indices_are_a_shuffle_without_repeats():
  indices = epoch_indices(jax.random.key(0), 23, 5)
  assert (indices.shape, indices.dtype) == ((4, 5), np.int32)
  assert len(set(indices.ravel().tolist())) == 20
  other = epoch_indices(jax.random.key(1), 23, 5)
  assert not np.array_equal(indices, other)
  np.testing.assert_array_equal(indices, epoch_indices(jax.random.key(0), 23, 5))


def test_epoch_indices_under_vmap():
  keys = jax.random.split(jax.random.key(0), 3)
  stacked = jax.jit(jax.vmap(lambda key: epoch_indices(key, 10, 5)))(keys)
  np.testing.assert_array_equal(stacked[1], epoch_indices(keys[1], 10, 5))


@pytest.mark.parametrize("batch_size", [0, 11])
def test_epoch_indices_errors(batch_size):
  with pytest.raises(ValueError, match=r"batch_size must be between 1 and .* 10"):
    epoch_indices(jax.random.key(0), 10, batch_size)


def test_batches_cover_an_epoch_and_keep_pairs():
  epoch = batches(_data(), 5, seed=0, epoch=0, drop_remainder=False)
  assert len(epoch) == 5
  assert sorted(_seen(epoch)) == list(range(23))
  for batch in epoch:
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0] % 5, batch["label"])
  assert len(list(batches(_data(), 5))) == 4
  assert _seen(batches(_data(), 5, shuffle=False)) == list(range(20))


def test_batches_are_a_function_of_seed_and_epoch():
  epoch = _seen(batches(_data(), 5, seed=1, epoch=2))
  assert epoch == _seen(batches(_data(), 5, seed=1, epoch=2))
  assert epoch != _seen(batches(_data(), 5, seed=1, epoch=3))
  # Not seed + epoch: the epochs of neighbouring seeds must not be the same ones shifted.
  assert epoch != _seen(batches(_data(), 5, seed=2, epoch=1))


def test_batches_resume_at_a_step():
  whole = batches(_data(), 5, seed=1)
  again = batches(_data(), 5, seed=1)
  assert _seen([again[i] for i in range(2, 4)]) == _seen(whole)[10:]


@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_disjoint_and_equally_long(count):
  shards = [batches(_data(), 3, seed=1, shard=(i, count)) for i in range(count)]
  assert len({len(shard) for shard in shards}) == 1
  seen = [i for shard in shards for i in _seen(shard)]
  assert len(seen) == len(set(seen))


def test_batches_of_any_source():
  source = [{"x": np.full(2, i), "y": np.int32(i)} for i in range(6)]
  batch = batches(source, 3, shuffle=False)[1]
  assert batch["x"].tolist() == [[3, 3], [4, 4], [5, 5]]
  assert batch["y"].tolist() == [3, 4, 5]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"batch_size": 24}, "batch_size must be between 1 and .* 23"),
    ({"shard": (2, 2)}, "shard must be"),
    ({"seed": -1}, "seed and epoch"),
    ({"drop_remainder": False, "shard": (0, 2)}, "divide evenly among 2"),
  ],
)
def test_batches_errors(options, message):
  with pytest.raises(ValueError, match=message):
    batches(_data(), **{"batch_size": 4, **options})


@pytest.mark.parametrize("batch_size", [1, 5, 23, 40])
def test_eval_batches_hold_every_example_once_in_order(batch_size):
  data = _data()
  stacked = eval_batches(data.images, data.labels, batch_size)
  assert stacked.valid.shape[1] == batch_size
  assert stacked.valid.sum() == 23
  np.testing.assert_array_equal(stacked.images[stacked.valid], data.images)
  np.testing.assert_array_equal(stacked.labels[stacked.valid], data.labels)
  assert not stacked.labels[~stacked.valid].any()
  assert (stacked.images.dtype, stacked.labels.dtype) == (np.uint8, np.int32)


def test_eval_batches_errors():
  data = _data()
  with pytest.raises(ValueError, match="same length"):
    eval_batches(data.images, data.labels[:3], 4)
  with pytest.raises(ValueError, match="batch_size must be at least 1"):
    eval_batches(data.images, data.labels, 0)
