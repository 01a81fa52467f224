"""Meta auxiliary learning (MAXL): a network that invents the labels of an auxiliary task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmtl.gradients.losses import stack_losses
from jaxmtl.losses import label_entropy
from jaxmtl.meta.hypergradient import hypergradient

PyTree = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LabelState:
  """All that changes of a label network.

  Attributes:
    step: int32 scalar, steps taken.
    params: theta_2.
    model_state: its other variables (batch statistics).
    optimizer: state of its optimiser.
    key: random key; constant, the step is folded in.
  """

  step: jax.Array
  params: PyTree
  model_state: PyTree
  optimizer: PyTree
  key: jax.Array

  def replace(self, **changes: Any) -> LabelState:
    """The same with other values of some fields."""
    return dataclasses.replace(self, **changes)


class LabelNetwork(NamedTuple):
  """Three pure functions.

  Attributes:
    init: `(params, key, model_state=()) -> LabelState`.
    add_labels: `(label_state, batch) -> batch` with generated labels, for the multi-task network's
      step; no gradient flows through them.
    update: `(label_state, train_state, batch) -> (label_state, metrics)`; metrics are the outer
      `loss` and the `entropy` of the labels, scalars. Of `train_state` it takes `params`,
      `model_state` and `optimizer`, so that in a loop of one's own a `types.SimpleNamespace` of
      these will do; `optimizer` is the state of the optimiser given to `maxl` alone, not of a
      chain with an aggregator.
  """

  init: Callable[..., LabelState]
  add_labels: Callable[[LabelState, Any], Any]
  update: Callable[[LabelState, Any, Any], tuple[LabelState, dict[str, jax.Array]]]


def label_value_and_grad(
  losses_fn: Callable[..., Any],
  generate_fn: Callable[..., Any],
  optimizer: optax.GradientTransformation,
  *,
  primary: Sequence[int | str] = (0,),
  entropy_weight: float = 0.2,
) -> Callable[..., tuple[tuple[jax.Array, PyTree], PyTree]]:
  r"""How good a label network's labels are for the primary tasks, and the gradient: MAXL's own.

  .. math:: \theta_1^+ = \theta_1 + u\Big(\nabla_{\theta_1} \sum_t L_t(\theta_1, y(\theta_2))\Big),
            \qquad \nabla_{\theta_2} \Big( \sum_{p \in P} L_p(\theta_1^+)
            + w \, H(y(\theta_2)) \Big)

  This is `jax.value_and_grad` for the label network, for a loop of one's own in any framework;
  `maxl` is a whole label network made of it. The multi-task network's own step is any step on
  `losses_fn` with labels that no gradient flows through, aggregators included.

  Args:
    losses_fn: `(params, labels, *args) -> losses`, float `[T]` or a dict of scalars; a pure
      function, so that what it does to batch statistics is dropped.
    generate_fn: `(label_params, *args) -> labels`, a pytree of probabilities `[B, K]`.
    optimizer: of the multi-task network, without the aggregator or weighting before it.
    primary: the losses that the labels are to help, by name where `losses_fn` returns a dict, by
      index where it returns an array; all others are auxiliary.
    entropy_weight: w, >= 0; the paper uses 0.2. Higher keeps more of the labels in use.

  Returns:
    A function `(label_params, params, opt_state, *args) -> ((loss, labels), gradient)` with
    `opt_state` that of `optimizer`; the gradient is like `label_params`.

  Raises:
    ValueError: if `entropy_weight` is negative; at a call, if `primary` are not losses, or
      `optimizer` holds an aggregator or a weighting.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxmtl import meta
    >>> x, sgd = jnp.eye(2), optax.sgd(0.5)
    >>> def losses_fn(w, labels, x):
    ...   return {"primary": jnp.mean((x @ w) ** 2), "auxiliary": jnp.mean((x @ w - labels) ** 2)}
    >>> value_and_grad = meta.label_value_and_grad(
    ...   losses_fn, lambda v, x: jax.nn.softmax(x @ v), sgd, primary=["primary"])
    >>> w = jnp.ones((2, 2))
    >>> (loss, labels), gradient = value_and_grad(jnp.zeros((2, 2)), w, sgd.init(w), x)
    >>> round(float(loss), 3), labels.tolist(), gradient.shape
    (0.252, [[0.5, 0.5], [0.5, 0.5]], (2, 2))

  Reference:
    Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019,
    section 3.2.
  """
  if not entropy_weight >= 0:
    raise ValueError(f"entropy_weight must be >= 0, got {entropy_weight}; the paper uses 0.2.")

  def value_and_grad(
    label_params: PyTree, params: PyTree, opt_state: PyTree, *args: Any
  ) -> tuple[tuple[jax.Array, PyTree], PyTree]:
    def losses(params: PyTree, label_params: PyTree) -> Any:
      return losses_fn(params, generate_fn(label_params, *args), *args)

    def outer(params: PyTree, label_params: PyTree) -> jax.Array:
      judged = _of_primary(losses(params, label_params), primary)
      return judged + entropy_weight * _entropy(generate_fn(label_params, *args))

    value, gradient = hypergradient(
      lambda params, label_params: stack_losses(losses(params, label_params)).sum(),
      outer,
      params,
      label_params,
      optimizer,
      opt_state,
    )
    return (value, generate_fn(label_params, *args)), gradient

  return value_and_grad


def maxl(
  losses_fn: Callable[[PyTree, PyTree, Any, jax.Array], tuple[Any, Any]],
  generate_fn: Callable[[PyTree, PyTree, Any, jax.Array], tuple[Any, PyTree]],
  optimizer: optax.GradientTransformation,
  label_optimizer: optax.GradientTransformation,
  *,
  primary: Sequence[int | str] = (0,),
  entropy_weight: float = 0.2,
  name: str = "auxiliary",
) -> LabelNetwork:
  r"""Trains a label network so that learning its labels lowers the primary tasks' losses.

  .. math:: \theta_1^+ = \theta_1 + u\Big(\nabla_{\theta_1} \sum_t L_t(\theta_1, y(\theta_2))\Big),
            \qquad \theta_2 \leftarrow \theta_2 - \beta \nabla_{\theta_2} \Big(
            \sum_{p \in P} L_p(\theta_1^+) + w \, H(y(\theta_2)) \Big)

  with u the multi-task network's optimiser step, y the generated labels of the same batch and H
  their negative entropy (`jaxmtl.losses.label_entropy`), which keeps all labels in use. The
  gradient is exact, second-order; theta_1+ is thrown away.

  The paper alternates: a pass over the data of `train_step` on batches with added labels, then
  another, shuffled anew, of `update`. Both run in `jaxmtl.training.scan_epoch` and under
  `jax.vmap` over seeds. In a loop of one's own `label_value_and_grad` is simpler.

  Args:
    losses_fn: as `train_step`'s, `(params, model_state, batch, key) -> (losses [T], Aux)`, with the
      generated labels in `batch[name]`. What it does to the model state is dropped here.
    generate_fn: `(label_params, label_model_state, batch, key) -> (labels, label_model_state)`,
      labels a pytree of probabilities `[B, K]`, of `jaxmtl.labels.mask_softmax` for example; one
      leaf a set of auxiliary classes.
    optimizer: of the multi-task network, the one of its `train_step`.
    label_optimizer: of the label network.
    primary: the losses that the labels are to help, by name where `losses_fn` returns a dict, by
      index where it returns an array; all others are auxiliary.
    entropy_weight: w, >= 0; the paper uses 0.2.
    name: under which `losses_fn` finds the labels in its batch, a dict.

  Returns:
    A `LabelNetwork`.

  Raises:
    ValueError: if `entropy_weight` is negative, or, at the first step, if `primary` are not losses
      or the batch is not a dict.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxmtl import labels, losses, meta
    >>> from jaxmtl.training import Aux, train_step
    >>> x, y, psi = jnp.eye(4), jnp.array([0, 0, 1, 1]), (2, 2)
    >>> def losses_fn(params, model_state, batch, key):
    ...   primary = losses.focal(batch["x"] @ params[:, :2], jax.nn.one_hot(batch["y"], 2))
    ...   auxiliary = losses.focal(batch["x"] @ params[:, 2:], batch["auxiliary"])
    ...   return jnp.stack([primary.mean(), auxiliary.mean()]), Aux()
    >>> def generate_fn(params, model_state, batch, key):
    ...   return labels.mask_softmax(batch["x"] @ params, batch["y"], psi), model_state
    >>> step = train_step(losses_fn, optax.sgd(0.1), 2)
    >>> network = meta.maxl(losses_fn, generate_fn, optax.sgd(0.1), optax.sgd(0.1))
    >>> state = step.init(jnp.zeros((4, 6)), jax.random.key(0))
    >>> label_state = network.init(jnp.zeros((4, 4)), jax.random.key(1))
    >>> batch = {"x": x, "y": y}
    >>> state, _ = jax.jit(step.update)(state, network.add_labels(label_state, batch))
    >>> label_state, metrics = jax.jit(network.update)(label_state, state, batch)
    >>> int(label_state.step), round(float(metrics["entropy"]), 3)
    (1, -1.386)

  Reference:
    Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning", 2019,
    section 3.
  """
  if not entropy_weight >= 0:
    raise ValueError(f"entropy_weight must be >= 0, got {entropy_weight}; the paper uses 0.2.")

  def with_labels(batch: Any, labels: Any) -> Any:
    if not isinstance(batch, Mapping):
      raise ValueError(
        f"batch must be a dict that the labels are added to as {name!r}, got "
        f"{type(batch).__name__}."
      )
    return {**batch, name: labels}

  def init(params: PyTree, key: jax.Array, model_state: PyTree = ()) -> LabelState:
    step = jnp.array(0, jnp.int32)
    return LabelState(step, params, model_state, label_optimizer.init(params), key)

  def add_labels(state: LabelState, batch: Any) -> Any:
    labels, _ = generate_fn(state.params, state.model_state, batch, state.key)
    return with_labels(batch, jax.lax.stop_gradient(labels))

  def update(
    state: LabelState, train_state: Any, batch: Any
  ) -> tuple[LabelState, dict[str, jax.Array]]:
    key, network_key = jax.random.split(jax.random.fold_in(state.key, state.step))

    def generate(label_params: PyTree) -> Any:
      return generate_fn(label_params, state.model_state, batch, key)

    def losses(params: PyTree, labels: Any) -> Any:
      return losses_fn(params, train_state.model_state, with_labels(batch, labels), network_key)[0]

    value_and_grad = label_value_and_grad(
      losses,
      lambda label_params: generate(label_params)[0],
      optimizer,
      primary=primary,
      entropy_weight=entropy_weight,
    )
    (value, _), gradient = value_and_grad(state.params, train_state.params, train_state.optimizer)
    made, model_state = generate(state.params)
    updates, optimizer_state = label_optimizer.update(gradient, state.optimizer, state.params)
    new_state = LabelState(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      model_state=model_state,
      optimizer=optimizer_state,
      key=state.key,
    )
    return new_state, {"loss": value, "entropy": _entropy(made)}

  return LabelNetwork(init, add_labels, update)


def _entropy(made: Any) -> jax.Array:
  return sum((label_entropy(leaf) for leaf in jax.tree.leaves(made)), jnp.zeros(()))


def _of_primary(losses: Any, primary: Sequence[int | str]) -> jax.Array:
  """The sum of the primary losses, or a clear error where they are not found."""
  found = stack_losses(losses)
  if isinstance(losses, Mapping):
    # Indices would count sorted names, which is seldom what is meant.
    wrong = [p for p in primary if p not in losses]
    if wrong or not primary:
      raise ValueError(
        f"primary must name losses, some of {', '.join(losses)}, got {tuple(primary)}."
      )
    return sum((losses[p] for p in primary), jnp.zeros(()))
  if not primary or not all(isinstance(p, int) and 0 <= p < len(found) for p in primary):
    raise ValueError(
      f"primary must name losses by index, 0 to {len(found) - 1}, got {tuple(primary)}."
    )
  return found[jnp.array(primary)].sum()
