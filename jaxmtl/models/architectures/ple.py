"""Progressive layered extraction (PLE)."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from jaxmtl.models.architectures.cgc import CGC
from jaxmtl.models.architectures.gates import gate, mix, view
from jaxmtl.models.pool import global_average


class PLE(CGC):
  r"""Progressive layered extraction: the gate of CGC after every stage of the backbone.

  .. math:: z_t^s = \sum_e \mathrm{softmax}(W_t^s \bar x_t^s + b_t^s)_e \, f_e^s(\cdot),
            \quad s = 1, \dots, S

  Own experts of stage s + 1 read the task's mixture z_t^s, shared ones what they computed
  themselves. The paper's shared experts read a mixture of all tasks' own experts too; then every
  loss reaches every own expert, and only the heads are a task's own. The first gates see the images
  averaged to 8x8 pixels, later ones the mean of the task's mixture before.

  Shared are `experts_<e>`; `own_<t>_<e>`, `gates_<t>_<s>` and `heads_<t>` are their task's own. It
  needs a `Backbone`.

  Args:
    num_experts: number of shared experts.
    num_own: number of each task's own experts, at least 1: the first one's readout serves the task.
    gates_see_all: whether gates see every pixel of the images and every element of later mixtures,
      as in LibMTL; see `MMoE`. The others are those of `Architecture`.

  Raises:
    ValueError: when made, if there is no shared or no own expert, or the backbone has no stages.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.PLE(models.create("convnet4", width=8), heads)
    >>> images = jnp.ones((2, 8, 8, 1))
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0]["digit"].shape
    (2, 10)

  Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL)
  Model for Personalized Recommendations", 2020, section 4.2.
  """

  by_stages = True

  def __post_init__(self) -> None:
    """Check the numbers of experts."""
    if self.num_own < 1:
      raise ValueError(f"num_own must be at least 1, got {self.num_own}; without, take MMoE")
    super().__post_init__()

  def setup(self) -> None:
    """Make experts, and a gate a stage."""
    self.experts = self.copies(self.num_experts)
    self.own = {task: self.copies(self.num_own) for task in self.heads}
    size, stages = self.num_experts + self.num_own, range(self.num_stages)
    self.gates = {task: [gate(size) for _ in stages] for task in self.heads}

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Run stage by stage, and weigh for every task after each."""
    shared = [expert.stem(images, train) for expert in self.experts]
    own = {task: [expert.stem(images, train) for expert in self.own[task]] for task in tasks}
    seen = dict.fromkeys(tasks, view(images, self.gates_see_all))
    mixed: dict[str, jax.Array] = {}
    for stage in range(self.num_stages):
      shared = [e.stage(stage, x, train) for e, x in zip(self.experts, shared, strict=True)]
      for task in tasks:
        values = [e.stage(stage, x, train) for e, x in zip(self.own[task], own[task], strict=True)]
        weights = nn.softmax(self.gates[task][stage](seen[task]))
        mixed[task] = mix(weights, [*shared, *values])
        own[task] = [mixed[task]] * self.num_own
        seen[task] = self._view(mixed[task]).astype(weights.dtype)
    return {task: self.read_out(self.own[task][0], mixed[task], images, train) for task in tasks}

  def _view(self, mixture: jax.Array) -> jax.Array:
    """What a gate after the first sees."""
    if self.gates_see_all:
      return mixture.reshape(len(mixture), -1)
    return global_average(mixture)
