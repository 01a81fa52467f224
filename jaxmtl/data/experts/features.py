"""Experts' labels as a Prismer reads them: quantities in [-1, 1], and features of numbers.

On the device, within the compiled step: the host keeps bytes, and only a batch at a time has 64
channels a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.data.augment import normalize
from jaxmtl.data.experts.layout import BACKGROUND, IMAGE, KINDS, side_key

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Channel means of CLIP's training images in 0 .. 1."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel standard deviations of CLIP's training images in 0 .. 1."""
INSTANCES = "obj_instance"
_EPSILON = 1e-6


def model_inputs(
  batch: Mapping[str, jax.Array],
  tables: Mapping[str, jax.typing.ArrayLike],
  *,
  mean: tuple[float, ...] = CLIP_MEAN,
  std: tuple[float, ...] = CLIP_STD,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> dict[str, jax.Array]:
  """What `Prismer.encode` takes, from bytes.

  Depth, normals and edges are brought to [-1, 1] by the smallest and the largest value of each
  label, of all its channels together. Numbers of classes, objects and words become rows of tables,
  those without any the last row.

  Args:
    batch: `rgb` uint8 `[B, H, W, 3]` and experts' labels uint8 `[B, H', W', C]`, as `ExpertFiles`,
      `augment` or `resize` give them, with their side tables. Other names are left out.
    tables: by expert float `[classes + 1, channels]`, the last row for pixels without a class; of
      `ocr_detection`, whose words bring their features, this row alone: `[1, channels]`, or nothing
      for zeros.
    mean: of the image's channels, in 0 .. 1.
    std: of the image's channels.
    dtype: of the outcome.

  Returns:
    `rgb` and experts' labels by name, float `[B, H, W, C]`; with `obj_detection` also
    `obj_instance`, int32 `[B, H, W]`.

  Raises:
    ValueError: if a label has no table, or its side table is not there.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.data import experts
    >>> batch = {
    ...   "rgb": jnp.zeros((2, 8, 8, 3), jnp.uint8),
    ...   "depth": jnp.arange(128, dtype=jnp.uint8).reshape(2, 8, 8, 1),
    ...   "seg": jnp.full((2, 8, 8, 1), 255, jnp.uint8),
    ... }
    >>> found = experts.model_inputs(batch, {"seg": experts.orthogonal_features(10)})
    >>> round(found["depth"].max().item(), 3), found["seg"].shape
    (1.0, (2, 8, 8, 64))

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """
  found = {IMAGE: normalize(batch[IMAGE], mean, std)}
  for name in KINDS:
    if name not in batch:
      continue
    kind, label = KINDS[name], batch[name]
    if not kind.numbers:
      found[name] = min_max(label)
      continue
    numbers = label[..., 0].astype(jnp.int32)
    table = jnp.asarray(tables[name]) if name in tables else None
    side = batch.get(side_key(name)) if kind.side else None
    if kind.side and side is None:
      raise ValueError(f"labels of {name!r} need {side_key(name)!r} beside them.")
    if kind.side == "features":
      assert side is not None  # for mypy
      found[name] = _word_features(numbers, side, table)
      continue
    if table is None:
      raise ValueError(f"tables must have features of {name!r}, got only {sorted(tables)}.")
    rows = numbers
    if side is not None:
      found[INSTANCES] = numbers
      rows = _of_numbers(numbers, side.astype(jnp.int32))
    found[name] = table[jnp.where(numbers == BACKGROUND, len(table) - 1, rows)]
  return {k: v if k == INSTANCES else v.astype(dtype) for k, v in found.items()}


def min_max(label: jax.Array) -> jax.Array:
  """Labels from -1 to 1, by the least and the greatest value of each.

  Args:
    label: uint8 `[B, H, W, C]`.

  Returns:
    float32, the same shape; -1 where all values of a label are one.
  """
  values = label.astype(jnp.float32) / 255
  least, most = (f(values, axis=(1, 2, 3), keepdims=True) for f in (jnp.min, jnp.max))
  return 2 * (values - least) / (most - least + _EPSILON) - 1


def check_classes(batch: Mapping[str, np.ndarray], tables: Mapping[str, np.ndarray]) -> None:
  """Looks, on the host, for classes that a table does not have; a compiled step cannot.

  Args:
    batch: of numbers and side tables, as of `model_inputs`.
    tables: as of `model_inputs`.

  Raises:
    ValueError: naming the expert and the class.
  """
  for name, table in tables.items():
    kind = KINDS[name]
    if name not in batch or kind.side == "features":
      continue
    classes = np.unique(batch[side_key(name)] if kind.side else batch[name])
    wrong = classes[(classes >= len(table) - 1) & (classes != BACKGROUND)]
    if kind.side:
      wrong = classes[classes >= len(table) - 1]
    if wrong.size:
      raise ValueError(
        f"labels of {name!r} have class {wrong[0]}, but its table has {len(table) - 1} classes, and"
        " a last row for what has none; are they labels of another data set?"
      )


def _of_numbers(numbers: jax.Array, values: jax.Array) -> jax.Array:
  """What an image's table says of its pixels' numbers; of the background, anything."""
  rows = jnp.minimum(numbers, values.shape[1] - 1)
  return jax.vmap(lambda table, row: table[row])(values, rows)


def _word_features(
  numbers: jax.Array, features: jax.Array, background: jax.Array | None
) -> jax.Array:
  of = _of_numbers(numbers, features)
  last = jnp.zeros(features.shape[-1], of.dtype) if background is None else background[-1]
  return jnp.where((numbers == BACKGROUND)[..., None], last, of)
