"""Cross-stitch networks."""

import jax
import jax.numpy as jnp

from jaxmtl.models.architectures.trunks import Trunks


class CrossStitch(Trunks):
  r"""Cross-stitch network: one trunk a task, each reading a learned mixture of all before a stage.

  .. math:: \tilde x_t^s = \sum_j a_{tj}^s x_j^{s-1}, \quad s = 2, \dots, S

  The units start near the identity, with .9 on the diagonal and rows that sum to 1. Shared are
  `trunks_<t>` and `stitches_<s>`, float `[T, T]`, tasks in the order of their sorted names; only
  `heads_<t>` are a task's own. It needs a `Backbone`.

  Args are those of `Architecture`.

  Example:
    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jaxmtl import models
    >>> heads = {"digit": nn.Dense(10), "parity": nn.Dense(2)}
    >>> model = models.CrossStitch(models.create("convnet4", width=8), heads)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((2, 8, 8, 1)))
    >>> [round(float(a), 1) for a in variables["params"]["stitches_1"].ravel()]
    [0.9, 0.1, 0.1, 0.9]

  Reference: Misra et al., "Cross-stitch Networks for Multi-task Learning", 2016, section 3.
  """

  def setup(self) -> None:
    """Make trunks and units."""
    super().setup()
    number = len(self.heads)

    def near_identity(key: jax.Array) -> jax.Array:
      del key
      others = 0.1 / max(number - 1, 1)
      return (
        jnp.full((number, number), others, jnp.float32)
        .at[jnp.diag_indices(number)]
        .set(0.9 if number > 1 else 1.0)
      )

    self.units = [self.param(f"stitches_{s}", near_identity) for s in range(1, self.num_stages)]

  def weights(self, stage: int, train: bool) -> jax.Array:
    """The unit before a stage."""
    del train
    return self.units[stage - 1]
