"""How universal features are: what an arbitrary head loses against the best one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmtl import losses
from jaxmtl.regularization.dummies import HeadTask, LossFns, by_task

PyTree = Any


def universality(
  heads: Mapping[str, Any],
  dummies: Mapping[str, PyTree],
  features: PyTree,
  targets: Mapping[str, Any],
  *,
  loss_fns: LossFns | None = None,
  num_steps: int = 100,
) -> dict[str, jax.Array]:
  r"""The inverse gap between the loss of an arbitrary head and that of the best one.

  .. math:: U_k = \Big[ \min_\sigma L_k(\psi(z), \sigma(y_k)) - \min_{\psi^*} L_k(\psi^*(z), y_k)
            \Big]^{-1}

  Under cross-entropy, sigma goes over the permutations of the classes (an assignment problem:
  which output of an untrained head stands for which class is chance); under other losses it is left
  out. Losses are means over the examples, where the paper has sums. The best head is found by
  L-BFGS from the first dummy's parameters: for a linear head, as the paper's theorem has it, the
  best there is.

  Args:
    heads: by task, the architectures, as in `dummy_heads`.
    dummies: d untrained heads a task, of `dummy_heads`; others than those trained with, so that
      features that learned to suit these are not taken for universal ones.
    features: of a whole data set, `[N, D]`, the encoder frozen.
    targets: by task, `[N]` or what its loss takes.
    loss_fns: as in `dgr`.
    num_steps: steps of L-BFGS.

  Returns:
    By task, `[d]`, one a dummy; infinite, or negative, where a dummy is as good as the head found.

  Raises:
    ValueError: for a task for which something is missing.

  Example:
    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> from jaxmtl import regularization
    >>> heads, features = {"parity": nn.Dense(2)}, jnp.array([[1.0], [2.0], [3.0], [4.0]])
    >>> dummies = regularization.dummy_heads(jax.random.key(0), heads, features)
    >>> labels = {"parity": jnp.array([1, 0, 1, 0])}
    >>> regularization.universality(heads, dummies, features, labels)["parity"].shape
    (3,)

  Reference:
    Shin, Do and Son, "Learning Representation for Multitask Learning through Self-Supervised
    Auxiliary Learning", 2024, definition 2.
  """
  found = {}
  for name, task in by_task(heads, dummies, targets, loss_fns, None).items():
    outputs = jax.vmap(lambda v, head=task.head: head.apply(v, features))(task.variables)
    if task.loss_fn is losses.cross_entropy:
      arbitrary = jax.lax.map(lambda o, y=targets[name]: _permuted_cross_entropy(o, y), outputs)
    else:
      arbitrary = jax.vmap(task.loss)(outputs)
    found[name] = 1 / (arbitrary - _best_loss(task, features, num_steps))
  return found


def _permuted_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """The least cross-entropy that a renaming of the classes gives."""
  log_p = jax.nn.log_softmax(logits.reshape(-1, logits.shape[-1]))
  one_hot = jax.nn.one_hot(jnp.ravel(labels), logits.shape[-1])
  # costs[c, j]: what the examples of class c add if output j stands for it.
  costs = -jnp.matmul(one_hot.T, log_p, precision=jax.lax.Precision.HIGHEST) / len(log_p)
  return costs[optax.assignment.hungarian_algorithm(costs)].sum()


def _best_loss(task: HeadTask, features: PyTree, num_steps: int) -> jax.Array:
  """The lowest loss on the way of a head that is fitted to all examples at once."""
  variables = jax.tree.map(lambda leaf: leaf[0], task.variables)
  optimizer = optax.lbfgs()

  def loss(params: PyTree) -> jax.Array:
    return task.loss(task.head.apply({**variables, "params": params}, features))

  value_and_grad = optax.value_and_grad_from_state(loss)

  def step(carry: Any, _: None) -> Any:
    params, state = carry
    value, grads = value_and_grad(params, state=state)
    updates, state = optimizer.update(grads, state, params, value=value, grad=grads, value_fn=loss)
    return (optax.apply_updates(params, updates), state), value

  start = variables["params"], optimizer.init(variables["params"])
  (params, _), values = jax.lax.scan(step, start, length=num_steps)
  return jnp.minimum(values.min(), loss(params))
