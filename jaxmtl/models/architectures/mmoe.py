"""Multi-gate mixture of experts (MMoE)."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from jaxmtl.models.architecture import Architecture
from jaxmtl.models.architectures.gates import gate, mix, view


class MMoE(Architecture):
  r"""Multi-gate mixture of experts: tasks share E backbones and weigh their features, each its way.

  .. math:: z_t = \sum_{e=1}^{E} \mathrm{softmax}(W_t \bar x + b_t)_e f_e(x)

  The gates see the images averaged to 8x8 pixels. Shared are `experts_<e>`; `gates_<t>` and
  `heads_<t>` are their task's own.

  Args:
    num_experts: E.
    gates_see_all: whether gates see every pixel, as in LibMTL: `view` in `gates.py` says what that
      does. The others are those of `Architecture`.

  Raises:
    ValueError: when made, if there is no expert.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.MMoE(models.create("convnet4", width=8), heads, num_experts=2)
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> outputs, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    >>> outputs["digit"].shape, sorted(variables["params"])[:3]
    ((2, 10), ['experts_0', 'experts_1', 'gates_digit'])

  Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
  Mixture-of-Experts", 2018, section 4.2.
  """

  num_experts: int = 3
  gates_see_all: bool = False

  def __post_init__(self) -> None:
    """Check the number of experts."""
    if self.num_experts < 1:
      raise ValueError(f"num_experts must be at least 1, got {self.num_experts}")
    super().__post_init__()

  def setup(self) -> None:
    """Make experts and gates."""
    self.experts = self.copies(self.num_experts)
    self.gates = {task: gate(self.num_experts) for task in self.heads}

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Run the experts once, and weigh them for every task."""
    values = [self.encode_with(expert, images, train) for expert in self.experts]
    seen = view(images, self.gates_see_all)
    return {task: mix(nn.softmax(self.gates[task](seen)), values) for task in tasks}
