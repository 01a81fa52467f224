"""Cross-stitch networks."""

import jax
import jax.numpy as jnp

from jaxmtl.models.architectures.trunks import Trunks


class CrossStitch(Trunks):
  r"""Cross-stitch network: one trunk a task, each reading a learned mixture of all before a stage.

  .. math:: \tilde x_t^s = \sum_j a_{tj}^s x_j^{s-1}, \quad s = 2, \dots, S

  Shared are `trunks_<t>` and `stitches_<s>`, float `[T, T]`, tasks in the order of their sorted
  names; only `heads_<t>` are a task's own. It needs a `Backbone`.

  Args:
    own_weight: a_tt at the start. With .9, as the paper chooses, trunks start nearly as networks of
      one task each, and what they share is learned.
    other_weight: a_tj at the start, for every other trunk j; None, so that rows sum to 1. With 1
      for both, as in LibMTL, all trunks read the same sum: every loss moves every trunk alike from
      the first step on, and values are T times as large, which batch normalization takes back. The
      others are those of `Architecture`.

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

  own_weight: float = 0.9
  other_weight: float | None = None

  def setup(self) -> None:
    """Make trunks and units."""
    super().setup()
    number, own, other = len(self.heads), self.own_weight, self.other_weight
    if other is None and number == 1:
      own = 1.0  # of a row that sums to 1
    elif other is None:
      other = (1 - own) / (number - 1)

    def start(key: jax.Array) -> jax.Array:
      del key
      return jnp.where(jnp.eye(number, dtype=bool), own, jnp.float32(other or 0))

    self.units = [self.param(f"stitches_{s}", start) for s in range(1, self.num_stages)]

  def weights(self, stage: int, train: bool) -> jax.Array:
    """The unit before a stage."""
    del train
    return self.units[stage - 1]
