"""What a network may be asked for where an image has a class and a property, and its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl import data, labels, losses

CLASS, VALUE, HYBRID = "class", "value", "hybrid"
NEAR = 0.08  # "within 8 %"


class Targets(NamedTuple):
  """What a network is asked for, and how class and value follow from what it says.

  Attributes:
    heads: number of outputs by head.
    encode: `(classes, values) -> targets by name`, `[N]` each, before training.
    losses: `(outputs by head [B, K], targets by name [B]) -> [T]`.
    decode: `outputs by head -> (classes, values)`.
  """

  heads: Mapping[str, int]
  encode: Callable[[Any, Any], dict[str, jax.Array]]
  losses: Callable[[Mapping[str, jax.Array], Mapping[str, Any]], jax.Array]
  decode: Callable[[Mapping[str, jax.Array]], tuple[jax.Array, jax.Array]]


def pair_losses(outputs: Mapping[str, jax.Array], targets: Mapping[str, Any]) -> jax.Array:
  """Cross-entropy of the class and squared error of the value, `[2]`."""
  return jnp.stack(
    [
      losses.cross_entropy(outputs[CLASS], targets[CLASS]),
      losses.mean_squared_error(outputs[VALUE][..., 0], targets[VALUE]),
    ]
  )


def pair_targets(num_classes: int, mean: float = 0.0, std: float = 1.0) -> Targets:
  """Two tasks: the class, and the value, less a mean and over a standard deviation."""

  def encode(classes: Any, values: Any) -> dict[str, jax.Array]:
    return {CLASS: jnp.asarray(classes), VALUE: (jnp.asarray(values) - mean) / std}

  def decode(outputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return outputs[CLASS].argmax(-1), mean + std * outputs[VALUE][..., 0]

  return Targets({CLASS: num_classes, VALUE: 1}, encode, pair_losses, decode)


def hybrid_losses(outputs: Mapping[str, jax.Array], targets: Mapping[str, Any]) -> jax.Array:
  """Squared error of the hybrid label, `[1]`."""
  return losses.mean_squared_error(outputs[HYBRID][..., 0], targets[HYBRID])[None]


def hybrid_targets(hybrid: labels.FastCAR) -> Targets:
  """One task: FastCAR's hybrid label."""
  return Targets(
    {HYBRID: 1},
    lambda classes, values: {HYBRID: hybrid.encode(values, classes)},
    hybrid_losses,
    lambda outputs: hybrid.decode(outputs[HYBRID][..., 0]),
  )


def measure(part: data.PropertyImages, classes: Any, values: Any) -> dict[str, float]:
  """How well classes and values are predicted.

  Args:
    part: the data.
    classes: predicted ones, integers `[N]`.
    values: predicted ones, float `[N]`.

  Returns:
    `accuracy` of the class (%), and of the value the mean squared error `mse`, the mean absolute
    error `mae`, the mean absolute percentage error `mape` and the share `near` of examples whose
    error is at most 8 % (%).
  """
  true, found = part.values.astype(float), np.asarray(values, float)
  error = np.abs(found - true)
  relative = error / np.abs(true)
  return {
    "accuracy": 100 * float(np.mean(np.asarray(classes) == part.classes)),
    "mse": float(np.mean(error**2)),
    "mae": float(np.mean(error)),
    "mape": 100 * float(np.mean(relative)),
    "near": 100 * float(np.mean(relative <= NEAR)),
  }
