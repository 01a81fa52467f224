"""Options of a method that change in training, or differ between vmapped runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.aggregation.base import Aggregator, GramianAggregator
from jaxmtl.weighting.base import Weighting

PyTree = Any
Method = TypeVar("Method", Weighting, Aggregator, GramianAggregator)

# Functions among options that are no schedules.
_FUNCTIONS = ("f", "losses_fn")


class InjectedState(NamedTuple):
  """A method's state beside its options.

  Attributes:
    step: int32 scalar, updates so far: what schedules are functions of.
    hyperparams: the options of the last update by name, float32; those without a schedule may be
      replaced.
    inner: the method's state.
  """

  step: jax.Array
  hyperparams: dict[str, jax.Array]
  inner: Any


def inject_hyperparams(make: Callable[..., Method]) -> Callable[..., Method]:
  """A method whose numerical options are part of its state, or follow schedules.

  `optax.inject_hyperparams` does so for chains; what it returns is no weighting or aggregator to a
  train step any more, which this is.

  Args:
    make: a method, such as `jaxmtl.cagrad`. Options that are floats or arrays become part of the
      state, and of those that are functions of the step, schedules, the current value; integers,
      words, functions called `f` and the rest stay options.

  Returns:
    A function of the same arguments; its methods' state is an `InjectedState`. One state for each
    of several runs, with other values in `hyperparams`, makes a sweep under `jax.vmap`.

  Raises:
    ValueError: as the method, for the first value of each option; later ones are not checked.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import jaxmtl
    >>> cagrad = jaxmtl.inject_hyperparams(jaxmtl.cagrad)
    >>> aggregator = cagrad(2, c=optax.linear_schedule(0.0, 0.5, 1), rescale=0)
    >>> grads, state = jnp.array([[2.0, 0.0], [0.0, 2.0]]), aggregator.init(jnp.zeros(2))
    >>> for _ in range(2):
    ...   grad, state = aggregator.update(grads, state)
    >>> float(state.hyperparams["c"]), [round(float(g), 3) for g in grad]
    (0.5, [1.5, 1.5])
  """

  @functools.wraps(make)
  def made(num_tasks: Any, *args: Any, **options: Any) -> Method:
    given = inspect.signature(make).bind(num_tasks, *args, **options)
    given.apply_defaults()
    fixed, numbers, schedules = dict(given.arguments), {}, {}
    for name, value in given.arguments.items():
      if name == "num_tasks" or name in _FUNCTIONS:
        continue
      if callable(value):
        schedules[name] = fixed.pop(name)
      elif _is_number(value):
        numbers[name] = fixed.pop(name)

    def at(values: Mapping[str, Any]) -> Method:
      return make(**fixed, **{name: _known(value) for name, value in values.items()})

    first = numbers | {name: schedule(0) for name, schedule in schedules.items()}
    return _injected(at(first), at, numbers, schedules)

  return made


def _known(value: Any) -> Any:
  """An array as NumPy's where it is known: JAX would trace comparisons with it."""
  known = isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)
  return np.asarray(value) if known else value


def _is_number(value: Any) -> bool:
  if isinstance(value, (list, tuple)):
    return bool(value) and all(isinstance(x, float) for x in value)
  if isinstance(value, (np.ndarray, jax.Array)):
    # Neither counts nor keys.
    return bool(jnp.issubdtype(value.dtype, jnp.floating))
  return isinstance(value, float)


def _injected(
  plain: Method,
  at: Callable[[Mapping[str, Any]], Method],
  numbers: dict[str, Any],
  schedules: dict[str, Callable[[Any], Any]],
) -> Method:
  """The method with its options from a state."""

  def current(state: InjectedState) -> dict[str, jax.Array]:
    scheduled = {name: schedule(state.step) for name, schedule in schedules.items()}
    return {**state.hyperparams, **_arrays(scheduled)}

  def init(params: PyTree) -> InjectedState:
    zero = jnp.zeros((), jnp.int32)
    first = _arrays(numbers | {name: schedule(zero) for name, schedule in schedules.items()})
    return InjectedState(zero, first, plain.init(params))

  def update(updates: PyTree, state: InjectedState, params: PyTree = None, **extra: Any) -> Any:
    options = current(state)
    out, inner = at(options).update(updates, state.inner, params, **extra)
    return out, InjectedState(state.step + 1, options, inner)

  def weigh_now(values: Any, state: InjectedState, *args: Any, **extra: Any) -> Any:
    options = current(state)
    weights, inner = at(options).weigh(values, state.inner, *args, **extra)  # type: ignore[misc]
    return weights, InjectedState(state.step + 1, options, inner)

  weigh: Any = weigh_now
  if isinstance(plain, Weighting):
    bilevel = plain.bilevel
    if bilevel is not None:
      of_weights, sample = bilevel.weights, bilevel.sample
      bilevel = bilevel._replace(
        weights=lambda state: of_weights(state.inner),
        sample=sample and (lambda state: sample(state.inner)),
      )

    def revise(losses: Any, state: InjectedState, mask: Any = None) -> InjectedState:
      method = at(state.hyperparams)
      return state._replace(inner=method.revise(losses, state.inner, mask))  # type: ignore[misc]

    learns_by = plain.learns_by and (
      lambda chosen: _injected(
        plain.learns_by(chosen),  # type: ignore[misc]
        lambda options: at(options).learns_by(chosen),  # type: ignore[misc]
        numbers,
        schedules,
      )
    )
    return Weighting(
      init,
      update,
      weigh,
      plain.needs_gramian,
      revise if plain.revise else None,
      bilevel,
      learns_by=learns_by,
      num_tasks=plain.num_tasks,
      name=plain.name,
    )

  def head_weights(state: InjectedState, **seen: Any) -> jax.Array:
    return at(state.hyperparams).head_weights(state.inner, **seen)  # type: ignore[misc]

  return plain.changed(
    init=init,
    update=update,
    weigh=weigh if plain.weigh else None,
    head_weights=head_weights if plain.head_weights else None,
  )


def _arrays(values: Mapping[str, Any]) -> dict[str, jax.Array]:
  return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}
