"""Adaptors: the small trainable networks within frozen blocks."""

from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.layers import layer_norm

EPSILON = 1e-5  # of all layer normalizations
# Of the last projection: at first a block with its adaptor does nearly what it does without.
_NEAR_ZERO = 1e-3


def squared_relu(x: jax.Array) -> jax.Array:
  """The square of what is positive.

  Args:
    x: float, any shape.

  Returns:
    The same shape and dtype.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer.adaptor import squared_relu
    >>> squared_relu(jnp.array([-2.0, 3.0])).tolist()
    [0.0, 9.0]

  Reference: So et al., "Primer: Searching for Efficient Transformers for Language Modeling", 2021,
  section 4.2.
  """
  return jax.numpy.square(jax.nn.relu(x))


class Adaptor(nn.Module):
  r"""Two linear layers with a squared ReLU in between, residual.

  .. math:: x + A(\mathrm{LN}(x)) \quad \text{or} \quad \mathrm{LN}(x + A(x)), \qquad
            A(x) = W_2 \max(W_1 x + b_1, 0)^2 + b_2

  the former among blocks that normalise first, the latter among those that normalise last.

  Args:
    norm_first: which of the two.
    dtype: compute dtype.

  Returns:
    When called with tokens `[..., C]`, tokens of the same shape.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer.adaptor import Adaptor
    >>> init = Adaptor(norm_first=True).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 5, 4)))[0].shape
    (2, 5, 4)

  Reference: Liu, "Converging Pathways", 2024, section 6.3 and figure 6.3.
  """

  norm_first: bool
  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map tokens `[..., C]` to tokens `[..., C]`."""
    norm = layer_norm(self.dtype, EPSILON, "norm")
    down, up = (
      nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.normal(deviation), name=n)
      for n, deviation in (("down", 0.02), ("up", _NEAR_ZERO))
    )
    y = up(squared_relu(down(norm(x) if self.norm_first else x)))
    return x + y if self.norm_first else norm(x + y)
