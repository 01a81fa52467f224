"""Exact gradients with respect to meta-parameters, through look-ahead steps of an optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxmtl.meta.look_ahead import LookAhead, defined_at_zero, take_step

PyTree = Any
ESTIMATORS = ("exact", "finite_difference", "first_order")


def hypergradient(
  inner_loss_fn: Callable[..., jax.Array],
  outer_loss_fn: Callable[[PyTree, PyTree], jax.Array],
  params: PyTree,
  meta_params: PyTree,
  optimizer: optax.GradientTransformation,
  opt_state: PyTree,
  *,
  num_steps: int = 1,
  batches: PyTree | None = None,
  estimator: Literal["exact", "finite_difference", "first_order"] = "exact",
  mode: Literal["forward", "reverse"] = "forward",
  inner_gradient: PyTree | None = None,
  recompute: bool = True,
) -> tuple[jax.Array, PyTree]:
  r"""Outer loss after look-ahead steps on the inner loss, and its gradient for meta-parameters.

  .. math:: \theta' = \theta + u(\nabla_\theta L_{in}(\theta, \mu)), \qquad
            \frac{d L_{out}(\theta', \mu)}{d \mu} = \frac{\partial L_{out}}{\partial \mu}
            + \frac{\partial}{\partial \mu} \big\langle c, \nabla_\theta L_{in}(\theta, \mu)
            \big\rangle, \qquad
            c = \Big(\frac{\partial u}{\partial g}\Big)^\top \nabla_{\theta'} L_{out}

  with c held constant. The derivative of the inner product is that of :math:`\nabla_\mu L_{in}`
  along c: a forward-mode product at theta instead of a second reverse pass. One look-ahead step
  costs two gradients and about two forward passes, whatever the size of the meta-parameters.

  The look-ahead is virtual: neither `params` nor `opt_state` change. Batch statistics that a loss
  function moves must be dropped in it, and dropout keys fixed, so that the function is pure.

  Args:
    inner_loss_fn: `(params, meta_params) -> scalar`, or with `batches`
      `(params, meta_params, batch) -> scalar`; what the look-ahead steps descend.
    outer_loss_fn: `(params, meta_params) -> scalar`; what the meta-parameters are judged by.
    params: theta, a pytree of floating-point arrays.
    meta_params: mu, another one: task weights, a label network's parameters, ...
    optimizer: the optax transform of the look-ahead steps.
    opt_state: its state, for `params`.
    num_steps: look-ahead steps K, static. Memory holds K copies of the parameters.
    batches: a pytree with leading axis K, one batch a step; all steps see the same loss where None.
    estimator: "exact"; "finite_difference", the derivative along c from two gradients at
      theta +- .01 c / ||c|| as in the paper, in float32 off by up to some per cent;
      "first_order", exact to first order in the length of the steps: gradients are taken at theta
      and not ahead, and the value is the outer loss at theta.
    mode: "forward"; "reverse" differentiates gradients in reverse mode, slower, for inner losses
      with a `jax.custom_vjp`, which has no forward-mode derivative.
    inner_gradient: of the first step's inner loss at `params`, where it is known already: one
      gradient less.
    recompute: whether forward passes of look-ahead steps are computed a second time where what they
      keep takes more memory than the parameters; False keeps it until after the outer gradient: a
      forward pass less, and two sets of activations.

  Returns:
    `(value, gradient)`: the outer loss at the look-ahead parameters, and a pytree like
    `meta_params`.

  Raises:
    ValueError: if `num_steps` is below 1 or is not the number of batches, or if an option is not
      known.

  Warns:
    UserWarning: if the optimiser has no derivative at zero gradients, as Adam with `eps_root=0`;
      zero entries of the gradient are then taken to have a zero derivative.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> optimizer, params = optax.sgd(0.5), jnp.array(1.0)
    >>> def losses(w):
    ...   return jnp.stack([w**2, (w - 3.0) ** 2])
    >>> value, grad = jaxmtl.meta.hypergradient(
    ...   lambda w, weights: losses(w) @ weights, lambda w, _: losses(w)[0],
    ...   params, jnp.array([0.5, 0.5]), optimizer, optimizer.init(params))
    >>> value.tolist(), grad.tolist()
    (2.25, [-3.0, 6.0])

  Reference:
    Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships", 2022,
    equation 5 (finite difference); Liu, Davison and Johns, "Self-Supervised Generalisation with
    Meta Auxiliary Learning", 2019, section 3.2.
  """
  num_steps = _check(num_steps, batches, estimator, mode)
  defined = defined_at_zero(optimizer, params)
  product = {"forward": _forward, "reverse": _reverse}[mode]
  if estimator == "finite_difference":
    product = _finite_difference
  first_order = estimator == "first_order"

  def loss_of_step(k: int) -> Callable[[PyTree, PyTree], jax.Array]:
    if batches is None:
      return inner_loss_fn
    batch = jax.tree.map(lambda leaf: leaf[k], batches)
    return lambda p, m: inner_loss_fn(p, m, batch)

  ahead = LookAhead(params, opt_state, None)  # type: ignore[arg-type]
  steps: list[tuple[PyTree, LookAhead, bool]] = []
  for k in range(num_steps):
    start = params if first_order else ahead.params
    gradient, large = _gradient(loss_of_step(k), start, meta_params)
    if k == 0 and inner_gradient is not None:
      gradient = inner_gradient  # the other one is left out of the program
    ahead = take_step(optimizer, gradient, ahead.state, ahead.params, defined_at_zero=defined)
    steps.append((start, ahead, large))

  end = params if first_order else ahead.params
  value, (params_bar, meta_bar) = jax.value_and_grad(outer_loss_fn, (0, 1))(end, meta_params)
  state_bar = None
  for k, (start, step, large) in reversed(list(enumerate(steps))):
    gradient_bar, state_bar, params_bar = step.pullback(params_bar, state_bar)
    if large and recompute:
      # To the compiler another point, so that it computes the forward pass again and does not keep
      # it until here. (XLA's CPU backend may ignore a `jax.lax.optimization_barrier`.)
      start = jax.tree.map(lambda p, c: p + 0 * c.astype(p.dtype), start, gradient_bar)
    # <c, gradient of the inner loss> differentiated for mu and, but for the first step and to first
    # order, for theta.
    argnums = (1,) if k == 0 or first_order else (1, 0)
    mixed, *curvature = product(loss_of_step(k), start, meta_params, gradient_bar, argnums)
    meta_bar = jax.tree.map(jnp.add, meta_bar, mixed)
    if curvature:
      params_bar = jax.tree.map(jnp.add, params_bar, curvature[0])
  return value, meta_bar


def check_estimator(estimator: str) -> None:
  """Raises ValueError where the estimator is not known."""
  if estimator not in ESTIMATORS:
    raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}.")


def _check(num_steps: int, batches: PyTree | None, estimator: str, mode: str) -> int:
  check_estimator(estimator)
  if mode not in ("forward", "reverse"):
    raise ValueError(f"mode must be forward or reverse, got {mode!r}.")
  if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
    raise ValueError(f"num_steps must be a positive integer, got {num_steps!r}.")
  for leaf in jax.tree.leaves(batches):
    if jnp.shape(leaf)[:1] != (num_steps,):
      raise ValueError(
        f"batches holds an array of shape {jnp.shape(leaf)}; its leading axis must be "
        f"num_steps={num_steps}, one batch a look-ahead step."
      )
  return num_steps


def _gradient(loss: Any, params: PyTree, meta: PyTree) -> tuple[PyTree, bool]:
  """The inner gradient, and whether what its forward pass keeps is larger than the parameters."""
  value, pullback = jax.vjp(lambda p: loss(p, meta), params)
  own = {id(leaf) for leaf in jax.tree.leaves((params, meta))}
  kept = [leaf for leaf in jax.tree.leaves(pullback) if id(leaf) not in own]
  large = sum(leaf.nbytes for leaf in kept) > sum(leaf.nbytes for leaf in jax.tree.leaves(params))
  return pullback(jnp.ones_like(value))[0], large


def _forward(loss: Any, params: PyTree, meta: PyTree, direction: PyTree, argnums: Any) -> PyTree:
  tangent = jax.tree.map(lambda d, p: d.astype(jnp.result_type(p)), direction, params)
  return jax.jvp(lambda p: jax.grad(loss, argnums)(p, meta), (params,), (tangent,))[1]


def _reverse(loss: Any, params: PyTree, meta: PyTree, direction: PyTree, argnums: Any) -> PyTree:
  along = lambda p, m: optax.tree.vdot(direction, jax.grad(loss)(p, m))  # noqa: E731
  return jax.grad(along, argnums)(params, meta)


def _finite_difference(
  loss: Any, params: PyTree, meta: PyTree, direction: PyTree, argnums: Any
) -> PyTree:
  norm = optax.tree.norm(direction)
  size = jnp.where(norm > 0, 0.01 / jnp.where(norm > 0, norm, 1), 1)

  def at(sign: int) -> PyTree:
    moved = jax.tree.map(lambda p, d: p + sign * size * d, params, direction)
    return jax.grad(loss, argnums)(moved, meta)

  return jax.tree.map(lambda plus, minus: (plus - minus) / (2 * size), at(1), at(-1))
