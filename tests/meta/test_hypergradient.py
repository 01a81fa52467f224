"""Hypergradients against reverse-over-reverse differentiation of the whole look-ahead."""

import functools
import pathlib
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl import labels, losses
from jaxmtl.meta import hypergradient

TASKS, BATCH = 3, 6
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
GOLDENS = np.load(pathlib.Path(__file__).parent.parent / "goldens" / "meta.npz")


class MLP(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.tanh(nn.Dense(8)(x.reshape(len(x), -1)))
    return nn.Dense(TASKS)(nn.Dropout(0.5, deterministic=not train)(x))


class CNN(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(nn.Conv(3, (3, 3))(x))
    return nn.Dense(TASKS)(nn.tanh(x).mean((1, 2)))


class Attention(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(4)(x.reshape(len(x), 4, -1))
    x += nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
    return nn.Dense(TASKS)(x.mean(1))


MODELS = {"mlp": MLP(), "cnn": CNN(), "attention": Attention()}
OPTIMIZERS = {
  "sgd": optax.sgd(0.1),
  "momentum": optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9)),
  "adam": optax.adam(optax.cosine_decay_schedule(0.1, 9), eps_root=1e-6),
  "adamw": optax.chain(
    optax.clip_by_global_norm(1.0), optax.adamw(0.1, eps_root=1e-6, weight_decay=0.1)
  ),
}


@functools.cache
def problem(name):
  """`task losses(params, batch)`, parameters, and four batches, in double precision."""
  model, rng = MODELS[name], np.random.default_rng(0)
  images = rng.normal(size=(4, BATCH, 4, 4, 3))
  targets = rng.normal(size=(4, BATCH, TASKS))
  variables = jit(model.init, static_argnums=2)(jax.random.key(0), images[0], False)
  variables = jax.tree.map(lambda v: np.asarray(v, float), variables)
  params = variables.pop("params")

  def task_losses(params, batch):
    out, _ = model.apply(
      {"params": params, **variables},
      batch[0],
      True,
      mutable=["batch_stats"],
      rngs={"dropout": jax.random.key(1)},
    )
    return jnp.mean((out - batch[1]) ** 2, axis=0)

  return task_losses, params, (images, targets)


def reverse_over_reverse(inner, outer, params, meta, optimizer, state, num_steps, batches):
  """The definition: everything unrolled, then `jax.grad`."""

  def unrolled(meta):
    theta, moving = params, state
    for k in range(num_steps):
      batch = jax.tree.map(lambda leaf, k=k: leaf[k], batches)
      updates, moving = optimizer.update(jax.grad(inner)(theta, meta, batch), moving, theta)
      theta = optax.apply_updates(theta, updates)
    return outer(theta, meta)

  return jax.value_and_grad(unrolled)(meta)


def setting(name, optimizer_name, num_steps):
  """Arguments of `hypergradient`, with an optimiser that has already taken a step."""
  task_losses, params, batches = problem(name)
  optimizer = OPTIMIZERS[optimizer_name]
  last = jax.tree.map(lambda leaf: leaf[3], batches)

  @jit
  def first_step(params):
    gradient = jax.grad(lambda p: task_losses(p, last).sum())(params)
    return optimizer.update(gradient, optimizer.init(params), params)[1]

  state = first_step(params)
  meta = {"weights": jnp.array([0.1, 0.7, -0.2]), "bias": jnp.array(0.3)}

  def inner(params, meta, batch):
    found = task_losses(params, batch)
    return found @ meta["weights"] + meta["bias"] * jnp.sum(found**2)

  def outer(params, meta):
    return task_losses(params, last)[:2].sum() * (1 + meta["bias"])

  steps = jax.tree.map(lambda leaf: leaf[:num_steps], batches)
  return (inner, outer, params, meta, optimizer, state), {"num_steps": num_steps, "batches": steps}


def assert_close(got, want, tolerance):
  got, want = jax.tree.leaves(got), jax.tree.leaves(want)
  scale = max(np.abs(leaf).max() for leaf in want)
  for a, b in zip(got, want, strict=True):
    assert np.abs(np.asarray(a) - np.asarray(b)).max() <= tolerance * scale


@pytest.mark.parametrize(
  ("name", "optimizer", "num_steps"),
  # Every optimiser, one to three steps, and every kind of layer.
  [
    *(("mlp", "sgd", 2), ("mlp", "momentum", 3), ("mlp", "adamw", 2)),
    *(("cnn", "adam", 2), ("attention", "momentum", 1)),
  ],
)
def test_equals_reverse_over_reverse(name, optimizer, num_steps, x64):
  args, options = setting(name, optimizer, num_steps)
  params, meta, state = args[2], args[3], args[5]

  @jit
  def both(params, meta, state):
    bound = (*args[:2], params, meta, args[4], state)
    return hypergradient(*bound, **options), reverse_over_reverse(*bound, **options)

  (value, grad), (want_value, want) = both(params, meta, state)
  np.testing.assert_allclose(value, want_value, rtol=1e-10)
  assert_close(grad, want, 1e-8)
  assert float(np.abs(want["weights"]).min()) > 1e-8


def test_reverse_mode_is_the_same(x64):
  args, options = setting("mlp", "momentum", 2)
  run = jit(
    lambda params, meta: [
      hypergradient(*args[:2], params, meta, *args[4:], **options, mode=mode)
      for mode in ("forward", "reverse")
    ]
  )
  forward, reverse = run(args[2], args[3])
  assert_close(forward, reverse, 1e-10)


def test_reverse_mode_takes_functions_without_forward_mode():
  @jax.custom_vjp
  def square(x):
    return x**2

  square.defvjp(lambda x: (x**2, x), lambda x, c: (2 * x * c,))
  sgd = optax.sgd(0.5)
  args = (lambda w, m: m * square(w), lambda w, m: w**2, jnp.ones(()), jnp.ones(()))
  with pytest.raises(TypeError, match="custom_vjp"):
    hypergradient(*args, sgd, sgd.init(args[2]))
  assert float(hypergradient(*args, sgd, sgd.init(args[2]), mode="reverse")[1]) == 0.0


def test_approximations(x64):
  args, options = setting("mlp", "momentum", 1)

  @jit
  def run(params, meta):
    return {
      estimator: hypergradient(*args[:2], params, meta, *args[4:], **options, estimator=estimator)
      for estimator in ("exact", "finite_difference", "first_order")
    }

  found = run(args[2], args[3])
  exact = found["exact"][1]
  assert_close(found["finite_difference"][1], exact, 1e-3)
  assert float(found["first_order"][0]) == pytest.approx(float(args[1](args[2], args[3])))


def test_first_order_is_the_limit_of_short_steps(x64):
  args, options = setting("mlp", "sgd", 3)
  sgd = optax.sgd(1e-6)
  bound = (*args[:2], args[2], args[3], sgd, sgd.init(args[2]))
  exact, first = jit(
    lambda: [
      hypergradient(*bound, **options, estimator=estimator)[1]
      for estimator in ("exact", "first_order")
    ]
  )()
  assert_close(first["weights"], exact["weights"], 1e-4)


@pytest.mark.parametrize("case", ["all_sgd", "one_sgd", "one_momentum_wd"])
def test_auto_lambda_goldens(case, x64):
  g = {k.split("/")[-1]: GOLDENS[k] for k in GOLDENS.files if k.startswith(f"auto_lambda/{case}/")}
  names = ("w", "b", "heads")

  def task_losses(p, x, y):
    z = jnp.tanh(x @ p["w"] + p["b"])
    return jnp.mean((jnp.einsum("nh,kho->kno", z, p["heads"]) - y) ** 2, axis=(1, 2))

  params = {k: jnp.asarray(g[k]) for k in names}
  optimizer = optax.chain(
    optax.add_decayed_weights(float(g["weight_decay"])),
    optax.trace(decay=float(g["momentum"])),
    optax.scale(-float(g["lr"])),
  )
  state = optimizer.init(params)
  state = (state[0], optax.TraceState({k: jnp.asarray(g[f"m{k}"]) for k in names}), state[2])

  @jit
  def run(weights):
    return [
      hypergradient(
        lambda p, m: task_losses(p, g["x"], g["y"]) @ m,
        lambda p, m: task_losses(p, g["xv"], g["yv"]) @ g["primary"],
        params,
        weights,
        optimizer,
        state,
        estimator=estimator,
      )[1]
      for estimator in ("exact", "finite_difference")
    ]

  exact, difference = run(jnp.asarray(g["lam"]))
  assert_close(exact, g["hypergrad_exact"], 1e-10)
  # The released program's finite difference is in single precision, and divides by another norm.
  assert_close(difference, g["hypergrad_fd_released"], 2e-2)


def test_maxl_golden(x64):
  g = {k.removeprefix("maxl/"): GOLDENS[k] for k in GOLDENS.files if k.startswith("maxl/")}
  theta1 = {k: jnp.asarray(g[f"theta1_{k}"]) for k in ("w", "pri", "aux")}
  theta2 = {k: jnp.asarray(g[f"theta2_{k}"]) for k in ("w", "o")}
  y, psi = jnp.asarray(g["y"]), tuple(int(n) for n in g["psi"])
  one_hot = jax.nn.one_hot(y, len(psi), dtype=float)

  def made(theta2):
    return labels.mask_softmax(jnp.tanh(g["x"] @ theta2["w"]) @ theta2["o"], y, psi)

  def primary(theta1):
    return losses.focal(jnp.tanh(g["x"] @ theta1["w"]) @ theta1["pri"], one_hot).mean()

  def inner(theta1, theta2):
    auxiliary = jnp.tanh(g["x"] @ theta1["w"]) @ theta1["aux"]
    return primary(theta1) + losses.focal(auxiliary, made(theta2)).mean()

  def outer(theta1, theta2):
    return primary(theta1) + float(g["entropy_weight"]) * losses.label_entropy(made(theta2))

  sgd = optax.sgd(float(g["inner_lr"]))

  @jit
  def run(theta2):
    return made(theta2), hypergradient(inner, outer, theta1, theta2, sgd, sgd.init(theta1))

  labels_made, (value, grad) = run(theta2)
  np.testing.assert_allclose(labels_made, g["labels"], atol=1e-7)
  np.testing.assert_allclose(value, g["outer_loss"], rtol=1e-7)
  assert_close(grad, {k: g[f"grad_theta2_{k}"] for k in theta2}, 1e-6)


def test_adam_without_eps_root_is_named_and_safe():
  """A parameter that no loss sees has a zero gradient, at which Adam's derivative is NaN."""
  params = {"w": jnp.ones(2), "unseen": jnp.ones(2)}

  def gradient(params, optimizer):
    return hypergradient(
      lambda p, m: m @ p["w"] ** 2,
      lambda p, m: jnp.sum(p["w"] ** 2),
      params,
      jnp.ones(2),
      optimizer,
      optimizer.init(params),
    )[1]

  for clip in (optax.identity(), optax.clip_by_global_norm(0.1)):

    @jit
    def both(params, clip=clip):
      with pytest.warns(UserWarning, match="eps_root"):
        found = gradient(params, optax.chain(clip, optax.adam(0.1)))
      with warnings.catch_warnings():
        warnings.simplefilter("error")
        return found, gradient(params, optax.chain(clip, optax.adam(0.1, eps_root=1e-12)))

    found, safe = both(params)
    np.testing.assert_allclose(found, safe, rtol=1e-2, atol=1e-9)


def test_an_optimiser_with_traced_options():
  """Under `jax.vmap` over learning rates."""

  def run(rate):
    sgd = optax.sgd(rate)
    return hypergradient(
      lambda w, m: m * w**2, lambda w, m: w, jnp.ones(()), jnp.ones(()), sgd, sgd.init(jnp.ones(()))
    )[1]

  found = jax.jit(jax.vmap(run))(jnp.array([0.1, 0.2]))
  np.testing.assert_allclose(found, [-0.2, -0.4], rtol=1e-6)


def test_needs_little_more_memory_than_a_gradient():
  """One copy of the parameters, and no second set of activations."""
  width, depth, batch = 64, 6, 512
  params = [jnp.ones((width, width))] * depth
  x, sgd = jnp.ones((batch, width)), optax.sgd(0.1, momentum=0.9)

  def task_losses(params, x):
    for w in params:
      x = jnp.tanh(x @ w)
    return jnp.mean(x[:, :TASKS] ** 2, axis=0)

  def plain(params, state):
    updates, state = sgd.update(jax.grad(lambda p: task_losses(p, x).sum())(params), state, params)
    return optax.apply_updates(params, updates), state

  def look_ahead(params, state, weights):
    return hypergradient(
      lambda p, m: task_losses(p, x) @ m,
      lambda p, m: task_losses(p, 2 * x).sum(),
      params,
      weights,
      sgd,
      state,
    )[1]

  def peak(fn, *args):
    found = jax.jit(fn).lower(*args).compile().memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes

  size = sum(w.nbytes for w in params)
  state = sgd.init(params)
  assert peak(look_ahead, params, state, jnp.ones(TASKS)) < 1.1 * (
    peak(plain, params, state) + size
  )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_steps": 0}, "num_steps must be a positive integer, got 0"),
    ({"num_steps": 2, "batches": jnp.ones((3, 1))}, r"shape \(3, 1\).*num_steps=2"),
    ({"estimator": "darts"}, "estimator must be one of exact"),
    ({"mode": "sideways"}, "mode must be forward or reverse"),
  ],
)
def test_bad_options(options, message):
  sgd = optax.sgd(0.1)
  with pytest.raises(ValueError, match=message):
    jaxmtl.meta.hypergradient(None, None, jnp.ones(1), jnp.ones(1), sgd, (), **options)
