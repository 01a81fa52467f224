"""Learning to branch (LTB)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxmtl.models.architectures.trunks import Trunks


def cooling(steps: int, start: float = 5.0, end: float = 0.1) -> optax.Schedule:
  """A temperature that falls in geometric steps, the same factor a step.

  Args:
    steps: in how many it falls, best those of the whole training.
    start: at the first step.
    end: from then on.

  Returns:
    An optax schedule.

  Raises:
    ValueError: if one of them is not positive.

  Example:
    >>> from jaxmtl.models.architectures.ltb import cooling
    >>> temperature = cooling(100, start=4.0, end=1.0)
    >>> [round(float(temperature(step)), 1) for step in (0, 50, 100, 200)]
    [4.0, 2.0, 1.0, 1.0]
  """
  for name, value in (("steps", steps), ("start", start), ("end", end)):
    if not value > 0:
      raise ValueError(f"{name} must be positive, got {value}")
  return optax.exponential_decay(start, steps, end / start, end_value=end)


class LTB(Trunks):
  r"""Learning to branch: one trunk a task, each reading one trunk, which one being learned.

  .. math:: \tilde x_t^s = x_{j}^{s-1}, \quad j = \arg\max_j (\theta_{tj}^s + g_j),
            \quad g_j \sim \mathrm{Gumbel}(0, 1), \quad s = 2, \dots, S

  While training a parent is drawn in every step, one for all images, from the random stream
  `dropout`; its gradient is that of softmax((theta + g) / tau) (straight through). Otherwise the
  parent of the largest theta is read.

  Shared are `trunks_<t>` and `branches_<s>`, theta `[T, T]`, tasks in the order of their sorted
  names; only `heads_<t>` are a task's own. `batch_stats` holds `steps`, the training steps so far.
  It needs a `Backbone`.

  Args:
    temperature: tau by the number of training steps so far, an optax schedule or any function. A
      high one moves all thetas of a row, by little; a low one those of the parents that were nearly
      drawn, by more. Let it fall over the whole training, as `cooling(steps)` does.
    warm_up_steps: training steps in which every trunk reads the sum of all trunks' values, and
      theta does not move: trunks learn something before they are chosen by it. They learn alike at
      first, and from values T times as large.
    joins_stems: whether trunks branch before the first stage too, on the stems' values, and not
      only from the second on: then a stem need not be its trunk's own. Where the stem does nothing
      (VGG, ConvNet-4) all parents are the same images.
    draws_always: whether a parent is drawn outside of training too, as in LibMTL: measured is then
      the mixture of networks that is trained and not its likeliest one, the less sure theta is the
      noisier. Without a stream `dropout` the draw is one for all calls between two training steps,
      and the same in every run. The others are those of `Architecture`.

  Raises:
    ValueError: when made, if the number of steps is negative.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.LTB(models.create("convnet4", width=8), heads)
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> variables = jax.jit(model.init)(jax.random.key(0), images)
    >>> train = jax.jit(lambda v, key: model.apply(
    ...   v, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}))
    >>> outputs, updated = train(variables, jax.random.key(1))
    >>> float(updated["batch_stats"]["steps"])
    1.0

  Reference: Guo, Lee and Ulbricht, "Learning to Branch for Multi-Task Learning", 2020, section 3.
  """

  temperature: optax.Schedule = cooling(10_000)
  warm_up_steps: int = 0
  joins_stems: bool = False
  draws_always: bool = False

  def __post_init__(self) -> None:
    """Check the warm-up."""
    if self.warm_up_steps < 0:
      raise ValueError(f"warm_up_steps must not be negative, got {self.warm_up_steps}")
    super().__post_init__()

  def setup(self) -> None:
    """Make trunks, logits of branches and the counter."""
    super().setup()
    number, zeros = len(self.heads), nn.initializers.zeros_init()
    stages = range(self.first_joined, self.num_stages)
    self.logits = [self.param(f"branches_{s}", zeros, (number, number)) for s in stages]
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

  @property
  def first_joined(self) -> int:
    """The first stage that reads other trunks' values."""
    return 0 if self.joins_stems else 1

  def weights(self, stage: int, train: bool) -> jax.Array:
    """One 1 in every row: the trunk that is read; in the warm-up, ones."""
    logits = self.logits[stage - self.first_joined]
    # Outside of training it does what the last training step did.
    step = jnp.maximum(self.steps.value - (not train), 0)
    if train or self.draws_always:
      chosen = hard_gumbel_softmax(self._key(stage, train), logits, self.temperature(step))
    else:
      chosen = jax.nn.one_hot(logits.argmax(-1), len(logits))
    return jnp.where(step < self.warm_up_steps, jnp.ones_like(chosen), chosen)

  def _key(self, stage: int, train: bool) -> jax.Array:
    if train or self.has_rng("dropout"):
      return self.make_rng("dropout")
    return jax.random.fold_in(jax.random.key(stage), self.steps.value.astype(jnp.int32))


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
