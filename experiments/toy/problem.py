"""Two losses of two parameters, and their Pareto front."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STARTS = ((-8.5, 7.5), (-8.5, 5.0), (0.0, 0.0), (9.0, 9.0), (10.0, -8.0))
LIMIT = 11.0
"""Half the side of the square that is searched and drawn."""


def losses_fn(theta: jax.Array, scale_first: Any = 1.0) -> jax.Array:
  r"""The two losses.

  .. math:: L_i = c_1 f_i + c_2 g_i, \quad
            c_1 = \max(\tanh(\theta_2 / 2), 0), \quad c_2 = \max(\tanh(-\theta_2 / 2), 0)

  .. math:: f_1 = \log \max(|(-\theta_1 - 7) / 2 - \tanh(-\theta_2)|, 5 \cdot 10^{-6}) + 6, \quad
            f_2 = \log \max(|(-\theta_1 + 3) / 2 + \tanh(-\theta_2) + 2|, 5 \cdot 10^{-6}) + 6

  .. math:: g_{1, 2} = ((-\theta_1 \pm 7)^2 + 0.1 (-\theta_2 - 8)^2) / 10 - 20

  as the authors' program has it, of which the papers' figures are.

  Args:
    theta: float `[2]`.
    scale_first: factor of the first loss.

  Returns:
    Float `[2]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from experiments.toy.problem import losses_fn
    >>> [round(float(loss), 2) for loss in losses_fn(jnp.array([0.0, -4.0]))]
    [-14.4, -14.4]
  """
  x, y = theta
  slope = jnp.tanh(-y)
  steep = jnp.stack([0.5 * (-x - 7) - slope, 0.5 * (-x + 3) + slope + 2])
  f = jnp.log(jnp.maximum(jnp.abs(steep), 5e-6)) + 6
  g = (jnp.stack([-x + 7, -x - 7]) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
  upper, lower = jnp.maximum(jnp.tanh(0.5 * y), 0), jnp.maximum(jnp.tanh(-0.5 * y), 0)
  return (upper * f + lower * g) * jnp.stack([jnp.asarray(scale_first, f.dtype), jnp.ones_like(x)])


def pareto_front(
  scale_first: float = 1.0, points: tuple[int, int] = (8801, 221)
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the front on a grid over the square that is drawn.

  Args:
    scale_first: factor of the first loss.
    points: of the grid in both directions. It has to be finer along the front than across it, or
      its gaps let points beside the front pass.

  Returns:
    Parameters and losses of the points that no other is better than, `[n, 2]` each, in increasing
    order of the first loss.

  Example:
    >>> from experiments.toy.problem import pareto_front
    >>> thetas, losses = pareto_front(points=(881, 56))
    >>> bool((losses[1:, 1] < losses[:-1, 1]).all())
    True
  """
  thetas, losses = grid(scale_first, points)
  thetas, losses = thetas.reshape(-1, 2), losses.reshape(-1, 2)
  order = np.lexsort((losses[:, 1], losses[:, 0]))
  second = losses[order, 1]
  best_before = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
  front = order[second < best_before]
  return thetas[front], losses[front]


def distance_to_front(losses: np.ndarray, front: np.ndarray) -> np.ndarray:
  """Euclidean distance, in the plane of the losses, of points `[n, 2]` to the line of a front.

  Example:
    >>> import numpy as np
    >>> from experiments.toy.problem import distance_to_front
    >>> distance_to_front(np.array([[2.0, 2.0]]), np.array([[0.0, 1.0], [3.0, 1.0]])).tolist()
    [1.0]
  """
  starts, along = front[:-1], np.diff(front, axis=0)
  offset = losses[:, None, :] - starts
  share = (offset * along).sum(-1) / (along**2).sum(-1)
  nearest = np.clip(share, 0, 1)[..., None] * along
  return np.linalg.norm(offset - nearest, axis=-1).min(-1)


@functools.cache
def grid(scale_first: float, points: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """Parameters and losses on the square, `[points of theta2, points of theta1, 2]`."""
  ticks = [jnp.linspace(-LIMIT, LIMIT, count) for count in points]
  thetas = jnp.stack(jnp.meshgrid(*ticks), axis=-1)
  losses = jax.jit(jax.vmap(jax.vmap(lambda t: losses_fn(t, scale_first))))(thetas)
  return np.asarray(thetas), np.asarray(losses)
