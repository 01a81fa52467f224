"""Which labels count, and how much."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import guards

Array = jax.typing.ArrayLike


class Counted(NamedTuple):
  """What takes part in a loss.

  Attributes:
    where: bool, of the labels' shape; None where all do.
    weights: float of that shape, 0 where `where` is False; None where all weigh the same.
  """

  where: jax.Array | None
  weights: jax.Array | None

  def replace(self, values: jax.Array, by: float = 0) -> jax.Array:
    """Values `[*shape, ...]` without what takes no part.

    To be called before the loss: masking its value alone lets 0 * NaN into the gradient.
    """
    if self.where is None:
      return values
    where = self.where.reshape(self.where.shape + (1,) * (values.ndim - self.where.ndim))
    return jnp.where(where, values, jnp.asarray(by, values.dtype))

  def mean(self, losses: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The mean of losses, weighted by those of the caller too; exactly 0 where nothing counts."""
    if self.weights is not None:
      weights = self.weights if weights is None else weights * self.weights
    if weights is None and self.where is None:
      return losses.mean()
    if weights is None:
      return self.replace(losses).sum() / jnp.maximum(self.where.sum(), 1)  # type: ignore[union-attr]
    weights = self.replace(weights).astype(losses.dtype)
    total = weights.sum()
    return (weights * self.replace(losses)).sum() / jnp.where(total > 0, total, 1)


def counted(
  shape: tuple[int, ...],
  labels: tuple[str, jax.Array, jax.Array, str],
  mask: Any,
  weights: Any,
  ignore: float | None,
  called: str = "mask",
) -> Counted:
  """What of labels `[*shape]` takes part.

  Args:
    shape: of the labels.
    labels: their name, themselves `[*shape, ...]`, where they are sound (bool `[*shape]`), and what
      they must be.
    mask: validity over the leading axes, boolean or 0/1.
    weights: not negative, over the leading axes.
    ignore: value of labels that are none; NaN too.
    called: what the caller's argument is called that is the mask here; nothing if it has none.

  Raises:
    ValueError: if a shape does not fit, a known mask is not 0/1, a known weight is negative or not
      finite, or a known label that takes part is not sound.
  """
  name, values, sound, wanted = labels
  where, soft = validity(mask, shape, called)
  given = None if weights is None else _weights(weights, shape)
  for one in (soft, given):
    where = where if one is None else _both(where, one > 0)
  if ignore is not None:
    ignored = jnp.isnan(values) if np.isnan(ignore) else values == ignore
    # Of a label of several numbers, all.
    where = _both(where, ~ignored.all(tuple(range(len(shape), values.ndim))))
  if guards.is_traced(sound) or (where is not None and guards.is_traced(where)):
    where = _both(where, sound)
  else:
    bad = np.asarray(_both(where, ~sound))
    if bad.any():
      raise ValueError(
        f"{name} must be {wanted}, got {np.asarray(values)[bad][0]} ({bad.sum()} of {bad.size}); "
        f"pass ignore= the value of what has no label{f', or {called}=' if called else ''}."
      )
  both = soft if given is None else given if soft is None else soft * given
  return Counted(where, both)


def count_invalid(
  labels: Array, num_classes: int, mask: Any = None, ignore: int | None = None
) -> jax.Array:
  """How many labels are no class, though they should be: a metric for compiled steps.

  Where values are known, the losses raise; under `jax.jit` they leave such examples out, which this
  makes visible.

  Args:
    labels: integers `[...]`.
    num_classes: of the logits.
    mask: as of `jaxmtl.losses.cross_entropy`.
    ignore: the same.

  Returns:
    An int32 scalar.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import count_invalid
    >>> int(count_invalid(jnp.array([0, 2, 255, -1]), 3, ignore=255))
    1
  """
  labels = as_classes("labels", labels)
  where, soft = validity(mask, labels.shape)
  for one in (soft if soft is None else soft > 0, None if ignore is None else labels != ignore):
    where = where if one is None else _both(where, one)
  bad = (labels < 0) | (labels >= num_classes)
  return _both(where, bad).sum(dtype=jnp.int32)


def accumulation(values: Array) -> jax.Array:
  """Cast to float32 or higher: a bfloat16 mean over 4096 bits keeps 2 digits."""
  values = jnp.asarray(values)
  return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def as_classes(name: str, values: Array) -> jax.Array:
  """Integers of 32 bits or more: -1 and 300 are none of 8 bits, with which they are compared.

  Raises:
    TypeError: naming them, if they are not integers.
  """
  values = jnp.asarray(values)
  if not jnp.issubdtype(values.dtype, jnp.integer):
    raise TypeError(
      f"{name} must be integer class indices, got dtype {values.dtype}; "
      "take argmax(-1) of one-hot labels or logits."
    )
  return values.astype(jnp.promote_types(values.dtype, jnp.int32))


def same_shape(name: str, outputs: Array, targets: Array) -> tuple[jax.Array, jax.Array]:
  """Outputs and targets as floats, or an error where they would be broadcast."""
  outputs, targets = accumulation(outputs), accumulation(targets)
  if outputs.shape != targets.shape:
    # Broadcasting [batch, 1] against [batch] would average over batch^2 wrong pairs.
    raise ValueError(
      f"targets must have the shape of {name}, {outputs.shape}, got {targets.shape}."
    )
  return outputs, targets


def check_known(name: str, values: jax.Array, wrong: jax.Array, wanted: str) -> None:
  """Raises ValueError, naming the first value that is wrong, where values are known."""
  # Under jax.grad outside of jit a comparison is known where the values are not.
  if guards.is_traced(values) or guards.is_traced(wrong):
    return
  if (found := np.asarray(values)[np.asarray(wrong)]).size:
    raise ValueError(f"{name} must be {wanted}, got {found.flat[0]}.")


def check_probabilities(name: str, values: jax.Array) -> None:
  """Raises ValueError for known values outside of [0, 1], but for round-off."""
  off = jnp.abs(values - 0.5) <= 0.501
  check_known(name, values, ~off, "probabilities, in 0 .. 1")


def check_share(name: str, value: float) -> None:
  """Raises unless an option is in [0, 1]."""
  if not guards.is_traced(value) and not 0 <= value <= 1:
    raise ValueError(f"{name} must be between 0 and 1, got {value}; 0 turns it off.")


def check_vector(name: str, value: Any, length: int) -> jax.Array:
  """One number a class, finite and not negative where they are known."""
  found = accumulation(value)
  if found.shape != (length,):
    raise ValueError(f"{name} must hold one number a class, {length}, got shape {found.shape}.")
  _check_weights(name, found)
  return found


def _both(where: jax.Array | None, more: jax.Array) -> jax.Array:
  return more if where is None else where & more


def _over(name: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
  """Broadcasts what is over the leading axes of a shape to all of it."""
  found = jnp.asarray(value)
  if found.shape != shape[: found.ndim]:
    raise ValueError(
      f"{name} must cover the leading axes of {shape}, got shape {found.shape}; "
      f"one value an example has shape {shape[:1]}."
    )
  return jnp.broadcast_to(found.reshape(found.shape + (1,) * (len(shape) - found.ndim)), shape)


def validity(
  mask: Any, shape: tuple[int, ...], called: str = "mask"
) -> tuple[jax.Array | None, jax.Array | None]:
  """The mask as bools; or, of a mask of numbers that are not known, as weights."""
  if mask is None:
    return None, None
  found = _over(called, mask, shape)
  if found.dtype == bool:
    return found, None
  if guards.is_traced(found):
    return None, accumulation(found)  # 0 and 1 mean the same; others are not made 1 silently
  other = np.asarray(found)[~np.isin(found, (0, 1))]
  if other.size:
    mend = "; soft weights are weights=" if called == "mask" else ""
    raise ValueError(f"{called} must be bool or 0 and 1, got {other[0]}{mend}.")
  return found.astype(bool), None


def _weights(weights: Any, shape: tuple[int, ...]) -> jax.Array:
  found = accumulation(_over("weights", weights, shape))
  _check_weights("weights", found)
  return found


def _check_weights(name: str, found: jax.Array) -> None:
  if guards.is_traced(found):
    return
  numbers = np.asarray(found)
  bad = numbers[~((numbers >= 0) & (numbers < np.inf))]
  if bad.size:
    raise ValueError(f"{name} must be finite and not negative, got {bad.flat[0]}.")
