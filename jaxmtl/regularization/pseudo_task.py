"""Pseudo-task augmentation (PTA)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from jaxmtl.regularization.dummies import LossFns, by_task

PyTree = Any


def pta(
  heads: Mapping[str, Any],
  decoders: Mapping[str, PyTree],
  features: PyTree,
  targets: Mapping[str, Any],
  *,
  loss_fns: LossFns | None = None,
  masks: Mapping[str, Any] | None = None,
) -> dict[str, jax.Array]:
  r"""Losses of further decoders of each task: features that solve it in several ways at once.

  .. math:: L_k = \frac{1}{1 + d} \Big( L_k(\psi_k(z)) + \sum_{j=1}^{d} L_k(\psi_{kj}(z)) \Big)

  This gives the terms of the sum. Decoders of different initial parameters that are trained as
  task-specific ones are the paper's PTA-I; under `jax.lax.stop_gradient`, all but the task's own
  stay as they are, PTA-F.

  Args:
    heads: by task, the architectures, as in `dummy_heads`.
    decoders: the variables of d decoders a task, leaves `[d, ...]`, made by `dummy_heads`.
    features: what the encoder gives for this batch.
    targets: by task, what its loss takes; other entries do not matter.
    loss_fns: as in `dgr`.
    masks: as in `dgr`.

  Returns:
    By task, the decoders' losses `[d]`.

  Raises:
    ValueError: for a task for which something is missing.

  Example:
    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> from jaxmtl import regularization
    >>> heads, features = {"digit": nn.Dense(10)}, jnp.eye(4)
    >>> decoders = regularization.dummy_heads(jax.random.key(0), heads, features, 2)
    >>> batch = {"digit": jnp.array([3, 1, 4, 1])}
    >>> regularization.pta(heads, decoders, features, batch)["digit"].shape
    (2,)

  Reference:
    Meyerson and Miikkulainen, "Pseudo-task Augmentation: From Deep Multitask Learning to Intratask
    Sharing - and Back", 2018, section 3.
  """
  tasks = by_task(heads, decoders, targets, loss_fns, masks)
  return {
    name: jax.vmap(lambda v, task=task: task.loss(task.head.apply(v, features)))(task.variables)
    for name, task in tasks.items()
  }
