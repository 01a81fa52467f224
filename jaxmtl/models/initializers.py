"""How the papers' programs draw first weights: kernels by name, and linear layers."""

from typing import Any

import flax.linen as nn
import jax

Initializer = nn.initializers.Initializer

INITIALIZERS: dict[str, Initializer] = {
  "he_fan_out": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
  "torch": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
  "xavier": nn.initializers.xavier_uniform(),
}
"""Initialisers of kernels of size k from c_in to c_out channels (k = 1 in linear layers).

he_fan_out: N(0, 2 / (k^2 c_out)), as Binary Labels and torchvision's residual networks; torch:
U(+-1 / sqrt(k^2 c_in)), PyTorch's default and so Auto-lambda's, of deviation 1 / sqrt(3 k^2 c_in);
xavier: U(+-sqrt(6 / (k^2 (c_in + c_out)))), as MAXL.
"""
he_fan_out = INITIALIZERS["he_fan_out"]


def initializer(given: str | Initializer) -> Initializer:
  """Look an initialiser up by its name, or leave it as it is.

  Args:
    given: a name in `INITIALIZERS`, or an initialiser.

  Returns:
    `(key, shape, dtype) -> array`.

  Raises:
    ValueError: for an unknown name.

  Example:
    >>> import jax
    >>> from jaxmtl.models.initializers import initializer
    >>> initializer("torch")(jax.random.key(0), (3, 3, 8, 16)).shape
    (3, 3, 8, 16)
  """
  if not isinstance(given, str):
    return given
  if given not in INITIALIZERS:
    raise ValueError(f"unknown initialiser {given!r}; known: {', '.join(INITIALIZERS)}")
  return INITIALIZERS[given]


def dense(features: int, kernel_init: str | None = None, name: str | None = None) -> nn.Module:
  """A linear layer whose first weights are drawn as some program does.

  Args:
    features: number of outputs.
    kernel_init: a name in `INITIALIZERS`; torch draws the bias too, from U(+-1 / sqrt(inputs)), and
      others start it at zero. None is Linen's default, of variance 1 / inputs, with which a head's
      first outputs are as large as its features; torch's variance is a third of that, and first
      losses are nearer to those of guessing.
    name: name of the module in its parent.

  Returns:
    The Linen module, with the parameters of `nn.Dense`.

  Raises:
    ValueError: for an unknown name.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl import models
    >>> variables = models.dense(2, "torch").init(jax.random.key(0), jnp.ones((1, 100)))
    >>> bool(abs(variables["params"]["bias"]).max() < 0.1)
    True
  """
  if kernel_init is None:
    return nn.Dense(features, name=name)
  if kernel_init == "torch":
    return _TorchDense(features, name=name)
  return nn.Dense(features, kernel_init=initializer(kernel_init), name=name)


class _TorchDense(nn.Module):
  """Only when it is called a layer knows its inputs, by which PyTorch draws biases."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map `[..., C]` to `[..., features]`."""
    bound = x.shape[-1] ** -0.5

    def bias_init(key: Any, shape: Any, dtype: Any, out_sharding: Any = None) -> jax.Array:
      del out_sharding
      return jax.random.uniform(key, shape, dtype, -bound, bound)

    layer = nn.Dense(self.features, kernel_init=INITIALIZERS["torch"], bias_init=bias_init)
    nn.share_scope(self, layer)
    return layer(x)
