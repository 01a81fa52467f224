"""Batches: index blocks for data on the device, Grain pipelines for data on the host."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.data.dataset import ImageDataset

if TYPE_CHECKING:
  import grain
else:
  grain = Optional("grain", "data", __name__)


def epoch_indices(key: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
  """Shuffle an epoch for data that fits on the device.

  Pure, so that a whole epoch can run in one `jax.lax.scan` over the rows, and under `jax.vmap`
  over keys. The remainder that does not fill a batch is dropped, another one with every key.

  Args:
    key: PRNG key of this epoch.
    num_examples: size of the data set.
    batch_size: examples a batch, `1 .. num_examples`.

  Returns:
    int32 `[num_examples // batch_size, batch_size]`, no index twice.

  Raises:
    ValueError: if `batch_size` is out of range.

  Example:
    >>> import jax
    >>> epoch_indices(jax.random.key(0), num_examples=10, batch_size=4).shape
    (2, 4)
  """
  _check_batch_size(batch_size, num_examples)
  steps = num_examples // batch_size
  order = jax.random.permutation(key, jnp.arange(num_examples, dtype=jnp.int32))
  return order[: steps * batch_size].reshape(steps, batch_size)


def batches(
  dataset: Any,
  batch_size: int,
  *,
  seed: int = 0,
  epoch: int = 0,
  shuffle: bool = True,
  drop_remainder: bool = True,
  shard: tuple[int, int] = (0, 1),
) -> grain.MapDataset:
  """Batch one epoch of data on the host, as a Grain data set.

  A pure function of its arguments: to resume, make it again with the same (seed, epoch) and go on
  at the same step, `batches(...)[step]`. `.to_iter_dataset()` adds Grain's prefetching.

  Args:
    dataset: an `ImageDataset`, giving `{"image": uint8 [batch, H, W, C], "label": int32
      [batch]}`; or any random-access source (`len`, `[i]`) of pytrees of arrays, which are
      stacked.
    batch_size: examples a batch on this process.
    seed: seed of the shuffle.
    epoch: number of the epoch, >= 0; every epoch has its own order.
    shuffle: whether to shuffle.
    drop_remainder: whether to drop the last batch if it is not full.
    shard: `(index, count)`: which of how many processes this is, e.g.
      `(jax.process_index(), jax.process_count())`. Processes get disjoint examples and equally
      many batches.

  Returns:
    A `grain.MapDataset`: has a length, can be indexed by step, and iterated.

  Raises:
    ValueError: if an argument is out of range, or, without `drop_remainder`, the examples cannot
      be divided evenly among the processes.

  Example:
    >>> from jaxmtl.data import load
    >>> epoch = batches(load("digits").train, 64, seed=0, epoch=3)
    >>> len(epoch), epoch[0]["image"].shape
    (16, (64, 8, 8, 1))
  """
  index, count = shard
  if not 0 <= index < count:
    raise ValueError(f"shard must be (index, count) with 0 <= index < count, got {shard}.")
  if seed < 0 or epoch < 0:
    raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}.")
  size = len(dataset)
  if not drop_remainder and size % count:
    raise ValueError(
      f"drop_remainder=False needs examples ({size}) that divide evenly among {count} processes; "
      "use drop_remainder=True to train, `eval_batches`, which pads, to evaluate."
    )
  _check_batch_size(batch_size, size // count)
  order = grain.MapDataset.range(size)
  if shuffle:
    order = order.shuffle(seed=int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
  # Equal shares: a process with one batch more than another would wait for it forever.
  order = order.slice(slice(index, size // count * count, count))
  if isinstance(dataset, ImageDataset):
    # Indices are batched and gathered at once, instead of stacking single images.
    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
      return {"image": dataset.images[indices], "label": dataset.labels[indices]}

    return order.batch(batch_size, drop_remainder=drop_remainder).map(gather)

  def fetch(i: Any) -> Any:
    return dataset[operator.index(i)]

  return order.map(fetch).batch(batch_size, drop_remainder=drop_remainder)


class EvalBatches(NamedTuple):
  """All batches of an evaluation, stacked; scan over it, or index its fields by step.

  Attributes:
    images: `[steps, batch, ...]`, zeros where padded.
    labels: `[steps, batch, ...]`, zeros where padded.
    valid: bool `[steps, batch]`, False where padded.
  """

  images: np.ndarray
  labels: np.ndarray
  valid: np.ndarray


def eval_batches(images: np.ndarray, labels: np.ndarray, batch_size: int) -> EvalBatches:
  """Cut data into batches of one shape, in order, padding the last.

  Args:
    images: `[num_examples, ...]`.
    labels: `[num_examples, ...]`.
    batch_size: examples a batch, >= 1.

  Returns:
    The `EvalBatches`; `valid.sum() == num_examples`.

  Raises:
    ValueError: if the lengths differ or are 0, or `batch_size` is not positive.

  Example:
    >>> import numpy as np
    >>> data = eval_batches(np.zeros((5, 8, 8, 1), np.uint8), np.arange(5), batch_size=4)
    >>> data.images.shape, data.valid[1].tolist()
    ((2, 4, 8, 8, 1), [True, False, False, False])
  """
  images, labels = np.asarray(images), np.asarray(labels)
  if len(images) != len(labels) or not len(images):
    raise ValueError(
      f"images and labels must have the same length, at least 1, got {len(images)} and "
      f"{len(labels)}."
    )
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
  steps = -(-len(images) // batch_size)
  missing = steps * batch_size - len(images)

  def stack(values: np.ndarray) -> np.ndarray:
    if missing:
      values = np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))
    return values.reshape(steps, batch_size, *values.shape[1:])

  return EvalBatches(stack(images), stack(labels), stack(np.ones(len(images), bool)))


def _check_batch_size(batch_size: int, available: int) -> None:
  if not 1 <= batch_size <= available:
    raise ValueError(
      f"batch_size must be between 1 and the number of examples, {available}, got {batch_size}."
    )
