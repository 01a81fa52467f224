"""Shares of right classes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl.losses.validity import as_classes, counted


def accuracy(
  logits: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  mask: Any = None,
  *,
  weights: Any = None,
  ignore: int | None = None,
) -> jax.Array:
  r"""The share of labelled examples whose largest logit is that of their class.

  .. math:: \frac{\sum_i u_i [\arg\max_k z_{ik} = y_i]}{\sum_i u_i}

  Args:
    logits: float `[..., num_classes]`.
    labels: integers `[...]`. Where masked or ignored they may hold anything.
    mask: as of `jaxmtl.losses.cross_entropy`.
    weights: u, the same.
    ignore: the same.

  Returns:
    A float32 scalar in [0, 1]; NaN if nothing is labelled. Logits with a NaN are wrong.

  Raises:
    ValueError: as `jaxmtl.losses.cross_entropy`.
    TypeError: the same.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.metrics import accuracy
    >>> logits = jnp.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    >>> float(accuracy(logits, jnp.array([1, 0, -1]), ignore=-1))
    0.5
  """
  logits, labels = jnp.asarray(logits), as_classes("labels", labels)
  if logits.shape[:-1] != labels.shape:
    raise ValueError(
      f"labels must have the shape of logits without the class axis, {logits.shape[:-1]}, "
      f"got {labels.shape}."
    )
  classes = logits.shape[-1]
  sound = (labels >= 0) & (labels < classes)
  takes_part = counted(
    labels.shape,
    ("labels", labels, sound, f"classes from 0 to {classes - 1}"),
    mask,
    weights,
    ignore,
  )
  # NaN counts as the highest: a broken network would have the share of its class right.
  right = ((logits.argmax(-1) == labels) & ~jnp.isnan(logits).any(-1)).astype(jnp.float32)
  return jnp.where(takes_part.mean(jnp.ones_like(right)) > 0, takes_part.mean(right), jnp.nan)
