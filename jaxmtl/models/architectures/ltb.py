"""Learning to branch (LTB)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.architectures.trunks import Trunks


class LTB(Trunks):
  r"""Learning to branch: one trunk a task, each reading one trunk, which one being learned.

  .. math:: \tilde x_t^s = x_{j}^{s-1}, \quad j = \arg\max_j (\theta_{tj}^s + g_j),
            \quad g_j \sim \mathrm{Gumbel}(0, 1), \quad s = 2, \dots, S

  While training a parent is drawn in every step, one for all images, from the random stream
  `dropout`; its gradient is that of softmax((theta + g) / tau) (straight through), whose
  temperature tau falls from `start_temperature` to `end_temperature` in geometric steps over the
  first `anneal_steps` training steps. Otherwise the parent of the largest theta is read.

  Shared are `trunks_<t>` and `branches_<s>`, theta `[T, T]`, tasks in the order of their sorted
  names; only `heads_<t>` are a task's own. `batch_stats` holds `steps`, the training steps so far.
  It needs a `Backbone`.

  Args:
    start_temperature: tau at the first step.
    end_temperature: tau from step `anneal_steps` on.
    anneal_steps: number of training steps. The others are those of `Architecture`.

  Raises:
    ValueError: when made, if a temperature or the number of steps is not positive.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.LTB(models.create("convnet4", width=8), heads, anneal_steps=1000)
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> variables = jax.jit(model.init)(jax.random.key(0), images)
    >>> train = jax.jit(lambda v, key: model.apply(
    ...   v, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}))
    >>> outputs, updated = train(variables, jax.random.key(1))
    >>> float(updated["batch_stats"]["steps"])
    1.0

  Reference: Guo, Lee and Ulbricht, "Learning to Branch for Multi-Task Learning", 2020, section 3.
  """

  start_temperature: float = 5.0
  end_temperature: float = 0.1
  anneal_steps: int = 10_000

  def __post_init__(self) -> None:
    """Check the schedule."""
    for name in ("start_temperature", "end_temperature", "anneal_steps"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
    super().__post_init__()

  def setup(self) -> None:
    """Make trunks, logits of branches and the counter."""
    super().setup()
    number, zeros = len(self.heads), nn.initializers.zeros_init()
    self.logits = [
      self.param(f"branches_{s}", zeros, (number, number)) for s in range(1, self.num_stages)
    ]
    # Among the statistics, which every training loop keeps; a float, which devices may average.
    self.steps = self.variable("batch_stats", "steps", jnp.zeros, (), jnp.float32)

  def __call__(
    self, images: jax.Array | Mapping[str, jax.Array], train: bool = False
  ) -> dict[str, Any]:
    """Compute outputs by task; count the step."""
    outputs = super().__call__(images, train)
    if train and not self.is_initializing():
      self.steps.value += 1
    return outputs

  def weights(self, stage: int, train: bool) -> jax.Array:
    """One 1 in every row: the trunk that is read."""
    logits = self.logits[stage - 1]
    if not train:
      return jax.nn.one_hot(logits.argmax(-1), len(logits))
    return hard_gumbel_softmax(self.make_rng("dropout"), logits, self.temperature())

  def temperature(self) -> jax.Array:
    """Tau of the next training step."""
    done = jnp.minimum(self.steps.value / self.anneal_steps, 1)
    return self.start_temperature * (self.end_temperature / self.start_temperature) ** done


def hard_gumbel_softmax(
  key: jax.Array, logits: jax.Array, temperature: jax.Array | float
) -> jax.Array:
  r"""Draws from a categorical distribution, with the gradient of a softmax (straight through).

  .. math:: y = \mathrm{onehot}(\arg\max_j (\theta_j + g_j)), \quad
            \nabla y := \nabla \mathrm{softmax}((\theta + g) / \tau)

  Args:
    key: of the draw.
    logits: theta, float `[..., N]`.
    temperature: tau, positive.

  Returns:
    Float `[..., N]`, a 1 among zeros.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.architectures.ltb import hard_gumbel_softmax
    >>> hard_gumbel_softmax(jax.random.key(0), jnp.array([9.0, 0.0]), 1.0).tolist()
    [1.0, 0.0]

  Reference: Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017, section
  2.2.
  """
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  soft = nn.softmax(noisy / temperature)
  hard = jax.nn.one_hot(noisy.argmax(-1), logits.shape[-1], dtype=soft.dtype)
  # Zero plus the difference to itself, so that the value is hard to the bit.
  return hard + (soft - jax.lax.stop_gradient(soft))
