"""DSelect-k: differentiable selection of k experts."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.architecture import PENALTIES
from jaxmtl.models.architectures.gates import mix, view
from jaxmtl.models.architectures.mmoe import MMoE


class DSelectK(MMoE):
  r"""DSelect-k: like MMoE, with gates that come to select at most k experts.

  .. math:: z_t = \sum_{j=1}^{k} \mathrm{softmax}(w)_j \sum_{e=0}^{E-1} r_{je} f_e(x), \quad
            r_{je} = \prod_b S(v_{jb})^{[b \in e]} (1 - S(v_{jb}))^{[b \notin e]}

  b runs over the bits of e, S is the `smooth_step`; w and v are linear in the image averaged to 8x8
  pixels. A selector whose steps have all reached 0 or 1 selects one expert. All experts are still
  computed.

  The entropies of the selectors, times `entropy_weight`, are added to the task's loss by
  `models.task_penalties`, from the collection `losses` into which a call sows them:

    outputs, updated = model.apply(..., mutable=["batch_stats", "losses"])
    losses = losses + models.task_penalties(updated, tasks)

  Shared are `experts_<e>`; `gates_<t>` and `heads_<t>` are their task's own.

  Args:
    num_experts: E, a power of two.
    num_selected: k.
    gamma: width of the smooth step.
    entropy_weight: weight of the mean entropy over images, summed over selectors.
    gates_see_all: as in `MMoE`. The others are those of `Architecture`.

  Raises:
    ValueError: when made, if E is not a power of two from 2 on, k not from 1 to E, or gamma not
      positive.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.DSelectK(models.create("convnet4", width=8), heads, num_selected=1)
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0]["digit"].shape
    (2, 10)

  Reference: Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with
  Applications to Multi-Task Learning", 2021, section 3.
  """

  num_experts: int = 4
  num_selected: int = 2
  gamma: float = 1.0
  entropy_weight: float = 1e-6

  def __post_init__(self) -> None:
    """Check the numbers of experts."""
    if self.num_experts < 2 or self.num_experts & (self.num_experts - 1):
      raise ValueError(f"num_experts must be a power of two: 2, 4, 8, ..., got {self.num_experts}")
    if not 1 <= self.num_selected <= self.num_experts:
      raise ValueError(
        f"num_selected must be from 1 to num_experts={self.num_experts}, got {self.num_selected}"
      )
    if not self.gamma > 0:
      raise ValueError(f"gamma must be positive, got {self.gamma}")
    super().__post_init__()

  def setup(self) -> None:
    """Make experts and gates."""
    self.experts = self.copies(self.num_experts)
    self.gates = {
      task: Selectors(self.num_experts, self.num_selected, self.gamma) for task in self.heads
    }

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Run the experts once, select for every task, and sow the penalties."""
    values = [self.encode_with(expert, images, train) for expert in self.experts]
    seen = view(images, self.gates_see_all)
    features = {}
    for task in tasks:
      weights, entropy = self.gates[task](seen)
      features[task] = mix(weights, values)
      if not self.is_initializing():  # a penalty is no variable
        penalty = self.entropy_weight * entropy.mean()
        self.sow(PENALTIES, task, penalty, init_fn=lambda: 0.0, reduce_fn=lambda _, new: new)
    return features


class Selectors(nn.Module):
  """Weights of experts from k selectors.

  Args:
    num_experts: E, a power of two.
    num_selected: k.
    gamma: width of the smooth step.

  Returns:
    When called with `[B, F]`, weights `[B, E]` that sum to 1, and `[B]`, the selectors' entropies
    in nats, summed.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.architectures.dselect_k import Selectors
    >>> init = Selectors(4, 1).init_with_output
    >>> (weights, entropy), _ = init(jax.random.key(0), jnp.ones((1, 2)))
    >>> weights.shape, round(float(entropy[0]), 2)  # log(4)
    ((1, 4), 1.39)

  Reference: as of `DSelectK`.
  """

  num_experts: int
  num_selected: int
  gamma: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Map `[B, F]` to weights `[B, E]` and entropies `[B]`."""
    k, bits = self.num_selected, self.num_experts.bit_length() - 1
    zeros = nn.initializers.zeros_init()

    def near_zero(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
      # Selectors must differ, and each step must start where it has a slope.
      return jax.random.uniform(key, shape, dtype, -self.gamma / 100, self.gamma / 100)

    logits = nn.Dense(k * bits, kernel_init=zeros, bias_init=near_zero, name="bits")(x)
    steps = smooth_step(logits, self.gamma).reshape(-1, k, 1, bits)
    is_set = (jnp.arange(self.num_experts)[:, None] >> jnp.arange(bits)) & 1 > 0
    chosen = jnp.where(is_set, steps, 1 - steps).prod(-1)  # [B, k, E]
    # An exact zero, which the steps reach, has no logarithm and adds nothing.
    safe = jnp.where(chosen > 0, chosen, 1)
    entropy = -(chosen * jnp.log(safe)).sum((-2, -1))
    weights = nn.softmax(nn.Dense(k, kernel_init=zeros, name="selectors")(x))
    return jnp.einsum("bk,bke->be", weights, chosen), entropy


def smooth_step(x: jax.Array, gamma: float = 1.0) -> jax.Array:
  r"""A step from 0 to 1 that is cubic between -gamma / 2 and gamma / 2, and exact outside.

  .. math:: S(x) = -\frac{2}{\gamma^3} x^3 + \frac{3}{2 \gamma} x + \frac{1}{2}

  Args:
    x: floats of any shape.
    gamma: width of the step, positive.

  Returns:
    Floats in 0..1, of the shape of x.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.architectures.dselect_k import smooth_step
    >>> smooth_step(jnp.array([-1.0, 0.0, 0.25, 1.0])).tolist()
    [0.0, 0.5, 0.84375, 1.0]

  Reference: Hazimeh et al., "The Tree Ensemble Layer: Differentiability meets Conditional
  Computation", 2020, section 3.2.
  """
  x = jnp.clip(x / gamma, -0.5, 0.5)
  return -2 * x**3 + 1.5 * x + 0.5
