"""Customized gate control (CGC)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxmtl.models.architecture import Architecture
from jaxmtl.models.architectures.gates import gate, mix, view


class CGC(Architecture):
  r"""Customized gate control: like MMoE, with experts of each task's own beside the shared ones.

  .. math:: z_t = \sum_e \mathrm{softmax}(W_t \bar x + b_t)_e f_e(x),
            \quad e \text{ over shared and own experts}

  The gates see the images averaged to 8x8 pixels. Shared are `experts_<e>`; `own_<t>_<e>`,
  `gates_<t>` and `heads_<t>` are their task's own. Without own experts it is MMoE.

  Args:
    num_experts: number of shared experts.
    num_own: number of each task's own experts.
    gates_see_all: as in `MMoE`. The others are those of `Architecture`.

  Raises:
    ValueError: when made, if there is no shared expert or the number of own ones is negative.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.CGC(models.create("convnet4", width=8), heads)
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((2, 8, 8, 1)))
    >>> [name for name in sorted(variables["params"]) if not name.startswith("heads")]
    ['experts_0', 'gates_digit', 'gates_parity', 'own_digit_0', 'own_parity_0']

  Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
  Model for Personalized Recommendations", 2020, section 4.1.
  """

  num_experts: int = 1
  num_own: int = 1
  gates_see_all: bool = False

  def __post_init__(self) -> None:
    """Check the numbers of experts."""
    if self.num_experts < 1 or self.num_own < 0:
      raise ValueError(
        "num_experts must be at least 1 and num_own at least 0, got "
        f"{self.num_experts} and {self.num_own}"
      )
    super().__post_init__()

  def setup(self) -> None:
    """Make experts and gates."""
    self.experts = self.copies(self.num_experts)
    self.own = {task: self.copies(self.num_own) for task in self.heads}
    self.gates: dict[str, Any] = {
      task: gate(self.num_experts + self.num_own) for task in self.heads
    }

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Run the shared experts once and every task's own, and weigh them for every task."""
    shared = [self.encode_with(expert, images, train) for expert in self.experts]
    seen = view(images, self.gates_see_all)
    features = {}
    for task in tasks:
      own = [self.encode_with(expert, images, train) for expert in self.own[task]]
      features[task] = mix(nn.softmax(self.gates[task](seen)), [*shared, *own])
    return features
