"""Every method with everything of optax around it: the whole matrix, traced.

Before and behind a method, where each sees nothing of the other but types, every method is with
one of optax's, and everything of optax with one method of each kind.
What optax itself cannot do is refused with a sentence that says the mend.
"""

import jax
import jax.numpy as jnp
import optax
import pytest
from optax.experimental import aggregating

import jaxmtl

TASKS = 3
PARAMS = {"b": jnp.zeros(4), "h": jnp.zeros((4, 4))}
GRADS = jax.tree.map(lambda p: jnp.ones((TASKS, *p.shape)), PARAMS)
LOSSES = jnp.ones(TASKS)


def task_losses(params):
  return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)) * jnp.arange(1.0, TASKS + 1)


def method(name):
  """The method as transforms: an aggregator, or a weighting before a sum."""
  make = jaxmtl.METHODS[name]
  if name in jaxmtl.aggregation.METHODS:
    return (make(TASKS),)
  options = {"constant": {"weights": (1.0, 2.0, 3.0)}, "stch": {"mu": 0.5}}.get(name, {})
  if name in jaxmtl.meta.METHODS:
    options = {"look_ahead": optax.sgd(0.1)}
  return make(TASKS, **options), jaxmtl.sum_tasks(TASKS)


# Made once: a method is traced once for all cells.
METHODS = {name: method(name) for name in jaxmtl.METHODS}
BILEVEL = set(jaxmtl.meta.METHODS)


def trace(tx, updates=GRADS, params=PARAMS, **extra):
  """One step without numbers: shapes fit, and the state keeps its types."""

  def step(params):
    state = tx.init(params)
    new, after = tx.update(updates, state, params, **extra)
    return state, new, after

  state, new, after = jax.eval_shape(step, params)
  for leaf, param in zip(jax.tree.leaves(new), jax.tree.leaves(params), strict=True):
    assert (leaf.shape, leaf.dtype) == (param.shape, param.dtype)
  for before, later in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
    assert (before.shape, before.dtype) == (later.shape, later.dtype)


def extras(name):
  """What the method's update takes."""
  found = {} if name in jaxmtl.aggregation.METHODS else {"losses": LOSSES}
  if name in BILEVEL:
    found |= {"primary_loss_fn": task_losses, "losses_fn": task_losses}
  if name in ("db_mtl", "moco"):
    found["losses"] = LOSSES
  return found


# One of each kind: what it takes, and whether a transform or two.
KINDS = {(len(transforms), *extras(name)): name for name, transforms in METHODS.items()}


def methods_with(cell, *every):
  """All methods with some cells, one of each kind with others.

  What follows a method gets updates and losses of the same types from all of a kind, and a method
  the same gradients whatever stands before it; `trace` finds the types.
  """
  names = METHODS if cell in every else KINDS.values()
  return [(name, METHODS[name]) for name in names]


AFTER = {
  "adam": lambda: optax.adam(0.1),
  "adamw": lambda: optax.adamw(0.1),
  "sgd with Nesterov momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
  "adafactor": lambda: optax.adafactor(0.1),
  "lion": lambda: optax.lion(0.1),
  "lamb": lambda: optax.lamb(0.1),
  "muon": lambda: optax.contrib.muon(0.1),
  "clip_by_global_norm": lambda: optax.clip_by_global_norm(1.0),
  "adaptive_grad_clip": lambda: optax.adaptive_grad_clip(0.1),
  "ema": lambda: optax.ema(0.9),
  "apply_every": lambda: optax.apply_every(2),
  "MultiSteps": lambda: optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
  "flatten": lambda: optax.flatten(optax.adam(0.1)),
  "freeze": lambda: optax.transforms.freeze({"b": True, "h": False}),
  "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(0.1), 3),
  "conditionally_transform": lambda: optax.conditionally_transform(
    optax.clip(1.0), lambda step: step > 1
  ),
  "skip_large_updates": lambda: optax.MultiSteps(
    optax.adam(0.1),
    1,
    should_skip_update_fn=lambda u, s, p: optax.skip_large_updates(u, s, p, 1e9),
  ).gradient_transformation(),
  "mechanize": lambda: optax.contrib.mechanize(optax.sgd(0.1)),
  "schedule_free": lambda: optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
  "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
  "partition": lambda: optax.partition(
    {"shared": optax.adam(0.1), "heads": optax.sgd(0.1)}, {"b": "shared", "h": "heads"}
  ),
  "masked": lambda: optax.masked(optax.adam(0.1), {"b": True, "h": False}),
  "reduce_on_plateau": lambda: optax.chain(
    optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=2)
  ),
  "prodigy": lambda: optax.contrib.prodigy(0.1),
  "dog": lambda: optax.contrib.dog(),
  "momo": lambda: optax.contrib.momo(0.1),
  "polyak_sgd": lambda: optax.polyak_sgd(),
  "add_noise": lambda: optax.add_noise(0.1, 0.5, key=0),
  "zero_nans": lambda: optax.zero_nans(),
  "centralize": lambda: optax.centralize(),
  "normalize_by_update_norm": lambda: optax.normalize_by_update_norm(),
  "keep_params_nonnegative": lambda: optax.keep_params_nonnegative(),
}
WITH_VALUE = {"reduce_on_plateau", "prodigy", "momo", "polyak_sgd"}

BEFORE = {  # a state and a norm a task
  "clip_by_global_norm": lambda: optax.clip_by_global_norm(1.0),
  "clip_by_block_rms": lambda: optax.clip_by_block_rms(1.0),
  "adaptive_grad_clip": lambda: optax.adaptive_grad_clip(0.1),
  "normalize_by_update_norm": lambda: optax.normalize_by_update_norm(),
  "scale_by_trust_ratio": lambda: optax.scale_by_trust_ratio(),
  "scale_by_factored_rms": lambda: optax.scale_by_factored_rms(),
  "scale_by_adam": lambda: optax.scale_by_adam(),
  "ema": lambda: optax.ema(0.9),
  "trace": lambda: optax.trace(0.9),
  "centralize": lambda: optax.centralize(),
  "add_decayed_weights": lambda: optax.add_decayed_weights(0.1),
  "zero_nans": lambda: optax.zero_nans(),
  "add_noise": lambda: optax.add_noise(0.1, 0.5, key=0),
}

AROUND = {
  "named_chain": lambda m: optax.named_chain(*((str(i), t) for i, t in enumerate(m))),
  "inject_hyperparams": lambda m: optax.inject_hyperparams(
    lambda learning_rate: optax.chain(*m, optax.sgd(learning_rate))
  )(learning_rate=0.1),
  "partition with one label": lambda m: optax.partition(
    {"all": optax.chain(*m, optax.adam(0.1))}, {"b": "all", "h": "all"}
  ),
  "masked, all True": lambda m: optax.masked(optax.chain(*m), {"b": True, "h": True}),
  "schedule_free": lambda m: optax.contrib.schedule_free(optax.chain(*m, optax.sgd(0.1)), 0.1),
  "jaxmtl.chain": lambda m: jaxmtl.chain(*m, optax.adam(0.1)),
  "jaxmtl.accumulate": lambda m: jaxmtl.accumulate(TASKS, 2, optax.chain(*m, optax.adam(0.1))),
  "jaxmtl.skip_nonfinite": lambda m: jaxmtl.skip_nonfinite(optax.chain(*m, optax.adam(0.1))),
}
# Of wrappers that are with every method one by one.
NESTED = {
  "accumulate in skip_nonfinite": lambda m: jaxmtl.skip_nonfinite(
    jaxmtl.accumulate(TASKS, 2, optax.chain(*m, optax.adam(0.1)))
  ),
}
# Each sees a part of the parameters: heads are summed, the method looks at the shared ones alone.
APART = {
  "partition": lambda m: optax.partition(
    {
      "shared": optax.chain(*m, optax.adam(0.1)),
      "heads": optax.chain(jaxmtl.sum_tasks(TASKS), optax.adam(0.1)),
    },
    {"b": "shared", "h": "heads"},
  ),
}


@pytest.mark.parametrize("cell", AFTER)
def test_after_the_method(cell):
  value = {"value": jnp.ones(())} if cell in WITH_VALUE else {}
  for name, transforms in methods_with(cell, "adam"):
    trace(optax.chain(*transforms, AFTER[cell]()), **extras(name), **value)


@pytest.mark.parametrize("cell", BEFORE)
def test_a_task_at_a_time_before_the_method(cell):
  for name, transforms in methods_with(cell, "scale_by_adam"):
    trace(jaxmtl.chain(jaxmtl.per_task(TASKS, BEFORE[cell]()), *transforms), **extras(name))
    with pytest.raises(ValueError, match=r"transform 0 stands before an aggregator.*per_task"):
      jaxmtl.chain(BEFORE[cell](), *transforms)


@pytest.mark.parametrize("cell", [*AROUND, *NESTED])
def test_around_the_method(cell):
  for name, transforms in methods_with(cell, *AROUND):
    trace((AROUND | NESTED)[cell](transforms), **extras(name))


def test_heads_apart():
  for name, transforms in METHODS.items():
    if name not in BILEVEL:
      trace(APART["partition"](transforms), **extras(name))


def test_optaxs_own_way_to_aggregate():
  for name, transforms in METHODS.items():
    if name not in BILEVEL and len(transforms) == 1:
      tx = aggregating.process(
        *map(optax.with_extra_args_support, (optax.identity(), transforms[0], optax.adam(0.1)))
      )
      trace(tx, **extras(name))


REFUSED = {
  "MultiSteps": (
    lambda m: optax.MultiSteps(optax.chain(*m, optax.sgd(0.1)), 2).gradient_transformation(),
    "jaxmtl.accumulate go before it",
  ),
  "flatten": (lambda m: optax.flatten(optax.chain(*m)), "comes after the aggregator"),
}


@pytest.mark.parametrize("cell", REFUSED)
def test_what_cannot_stand_around_is_told(cell):
  around, message = REFUSED[cell]
  for name, transforms in METHODS.items():
    with pytest.raises(ValueError, match=message):
      trace(around(transforms), **extras(name))


# Where optax wants updates of the gradients' shape: its errors, as docs/recipes.md says.
LIMITS = {
  "apply_if_finite": (
    lambda m: optax.apply_if_finite(optax.chain(*m, optax.sgd(0.1)), 3),
    TypeError,
  ),
  "conditionally_transform": (
    lambda m: optax.conditionally_transform(optax.chain(*m), lambda step: step > 1),
    TypeError,
  ),
  "mechanize": (lambda m: optax.contrib.mechanize(optax.chain(*m, optax.sgd(0.1))), Exception),
}


@pytest.mark.parametrize("cell", LIMITS)
def test_what_optax_cannot_do_around_an_aggregator(cell):
  around, error = LIMITS[cell]
  for name in KINDS.values():  # the error is optax's, whatever the method
    transforms = METHODS[name]
    with pytest.raises(error):
      trace(around(transforms), **extras(name))


def test_frozen_leaves_around_an_aggregator_are_refused():
  for name, transforms in METHODS.items():
    if name not in BILEVEL:
      frozen = optax.selective_transform(
        optax.chain(*transforms), freeze_mask={"b": True, "h": False}
      )
      tx = jaxmtl.chain(frozen)
      with pytest.raises(ValueError, match=r"updates\['b'\] has shape \(3, 4\)"):
        trace(tx, **extras(name))


def test_methods_without_losses_work_in_lookahead_and_others_say_what_is_missing():
  params = optax.LookaheadParams.init_synced(PARAMS)
  for name, transforms in METHODS.items():
    if name in BILEVEL:
      continue
    tx = optax.lookahead(optax.chain(*transforms, optax.sgd(0.1)), 2, 0.5)

    def step(tx=tx):
      return tx.update(GRADS, tx.init(params), params)

    if "losses" in extras(name):
      with pytest.raises(ValueError, match="losses is missing"):
        jax.eval_shape(step)
    else:
      jax.eval_shape(step)


@pytest.mark.parametrize("name", ["sum_tasks", "mgda", "upgrad"])
def test_methods_without_losses_work_in_opaque_sam(name):
  """Which asks for gradients at moved parameters, here those of the tasks."""
  inner = optax.chain(*METHODS[name], optax.sgd(0.1))
  adversary = optax.chain(jaxmtl.mean_tasks(TASKS), optax.contrib.normalize(), optax.sgd(0.05))
  tx = optax.contrib.sam(inner, adversary, sync_period=2, opaque_mode=True)

  def step(params):
    grad_fn = lambda params, _: jax.jacrev(task_losses)(params)  # noqa: E731
    return tx.update(grad_fn(params, 0), tx.init(params), params, grad_fn=grad_fn)

  updates, _ = jax.eval_shape(step, PARAMS)
  assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, PARAMS)
