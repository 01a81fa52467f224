"""Task gradients against a loop of `jax.grad`, in every form, and on one device or eight."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxmtl

TASKS, BATCH = 3, 16
CHUNKS = (None, 1, 2, TASKS)
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class MLP(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.tanh(nn.Dense(8)(x.reshape(len(x), -1)))
    return nn.Dense(TASKS)(x)


class CNN(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Conv(4, (3, 3))(x)
    x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(x))
    return nn.Dense(TASKS)(x.mean((1, 2)))


class Attention(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Dense(8)(x.reshape(len(x), 4, -1))
    for _ in range(2):
      x += nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
    return nn.Dense(TASKS)(x.mean(1))


MODELS = {"mlp": MLP(), "cnn": CNN(), "attention": Attention()}


@functools.cache
def initialised(name):
  """Variables in single precision, made once."""
  with jax.enable_x64(False):
    return jit(MODELS[name].init)(jax.random.key(0), np.ones((BATCH, 4, 4, 3), np.float32))


def problem(name, dtype=jnp.float32, as_dict=False):
  """`losses_fn(params, batch) -> (losses, aux)`, parameters and a batch."""
  model = MODELS[name]
  rng = np.random.default_rng(0)
  images = rng.normal(size=(BATCH, 4, 4, 3)).astype(dtype)
  targets = rng.normal(size=(BATCH, TASKS)).astype(dtype)
  rest = jax.tree.map(lambda p: np.asarray(p, dtype), dict(initialised(name)))
  params = rest.pop("params")

  def losses_fn(params, batch):
    images, targets = batch
    out, updates = model.apply({"params": params, **rest}, images, mutable=["batch_stats"])
    losses = ((out - targets) ** 2 * jnp.arange(1.0, TASKS + 1).astype(dtype)).mean(0)
    return ({f"task{i}": losses[i] for i in range(TASKS)} if as_dict else losses), updates

  return losses_fn, params, (images, targets)


@functools.partial(jax.jit, static_argnums=0)
def loop(losses_fn, params, *args):
  """The definition: one `jax.grad` a task."""
  grads = [jax.grad(lambda p, t=t: losses_fn(p, *args)[t])(params) for t in range(TASKS)]
  return jax.tree.map(lambda *g: jnp.stack(g), *grads)


def assert_trees_close(got, want, tolerance):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  scale = max(np.abs(np.asarray(leaf)).max() for leaf in jax.tree.leaves(want))
  assert scale > 1e-3
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_array_less(np.abs(np.asarray(a) - np.asarray(b)), tolerance * scale)


def check_model(name, dtype, tolerance, chunks):
  losses_fn, params, batch = problem(name, dtype)

  @jit
  def one_grad(params, batch, task):
    """The definition, for one task."""
    value_and_grad = jax.value_and_grad(lambda p: losses_fn(p, batch)[0][task])
    return value_and_grad(params), losses_fn(params, batch)[1]

  found = [one_grad(params, batch, task) for task in range(TASKS)]
  losses, grads = zip(*(value for value, _ in found), strict=True)
  aux = found[0][1]
  want = jax.tree.map(lambda *g: np.stack(g), *grads)
  for chunk_size in chunks:
    grad_fn = jit(jaxmtl.task_value_and_grad(losses_fn, has_aux=True, chunk_size=chunk_size))
    (got_losses, got_aux), got = grad_fn(params, batch)
    np.testing.assert_allclose(got_losses, np.stack(losses), rtol=tolerance)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), got_aux, aux)
    assert_trees_close(got, want, tolerance)
  return aux


@pytest.mark.parametrize("name", MODELS)
def test_equals_a_loop_of_grads(name):
  aux = check_model(name, jnp.float32, 1e-5, CHUNKS if name == "mlp" else (1, TASKS))
  assert bool(jax.tree.leaves(aux)) == (name == "cnn")  # BatchNorm's statistics come through


def test_equals_a_loop_of_grads_in_double_precision(x64):
  check_model("cnn", jnp.float64, 1e-12, (None,))


@pytest.fixture(scope="module")
def mlp():
  """Losses without aux, parameters, batch, and the answer."""
  with_aux, params, batch = problem("mlp")
  losses_fn = lambda p, b: with_aux(p, b)[0]  # noqa: E731
  grad_fn = jaxmtl.task_value_and_grad(losses_fn)
  return losses_fn, grad_fn, params, batch, jit(grad_fn)(params, batch)


def test_dict_losses_are_stacked_in_sorted_order(mlp):
  *_, params, batch, (losses, grads) = mlp
  dict_fn, _, _ = problem("mlp", as_dict=True)
  names = ["b", "a", "c"]

  def renamed(p, b):
    losses = dict_fn(p, b)[0]
    return {name: losses[f"task{i}"] for i, name in enumerate(names)}

  got = jit(jaxmtl.task_value_and_grad(renamed))(params, batch)
  order = np.array([1, 0, 2])  # a, b, c
  np.testing.assert_allclose(got[0], np.asarray(losses)[order], rtol=1e-6)
  assert_trees_close(got[1], jax.tree.map(lambda g: np.asarray(g)[order], grads), 1e-5)


def head_losses(trunk, heads, x):
  z = jnp.tanh(x @ trunk)
  return jnp.stack([jnp.mean((z @ heads[t] - t) ** 2) for t in range(TASKS)])


@pytest.fixture(scope="module")
def heads():
  rng = np.random.default_rng(1)
  return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((5, 4), (TASKS, 4), (BATCH, 5))]


def test_tuple_argnums(heads):
  losses, (trunk, own) = jit(jaxmtl.task_value_and_grad(head_losses, argnums=(0, 1)))(*heads)
  assert_trees_close(trunk, loop(head_losses, *heads), 1e-5)
  swapped = loop(lambda h, t, x: head_losses(t, h, x), heads[1], heads[0], heads[2])
  assert_trees_close(own, swapped, 1e-5)
  np.testing.assert_allclose(losses, jit(head_losses)(*heads), rtol=1e-6)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_split_form_is_the_plain_one(heads, chunk_size):
  grad_fn = jaxmtl.task_value_and_grad(head_losses, specific_argnums=1, chunk_size=chunk_size)
  losses, (trunk, own) = jit(grad_fn)(*heads)
  both = jaxmtl.task_value_and_grad(head_losses, argnums=(0, 1))
  want_losses, (want_trunk, want_own) = jit(both)(*heads)
  np.testing.assert_allclose(losses, want_losses, rtol=1e-6)
  assert_trees_close(trunk, want_trunk, 1e-5)
  assert_trees_close(own, np.asarray(want_own).sum(0), 1e-5)
  assert own.shape == heads[1].shape  # no task axis


def test_representation_form_is_the_plain_one(heads):
  trunk, specific, x = heads
  grad_fn = jaxmtl.representation_value_and_grad(
    lambda w, x: jnp.tanh(x @ w),
    lambda z, h, x: jnp.stack([jnp.mean((z @ h[t] - t) ** 2) for t in range(TASKS)]),
  )
  weights = jnp.array([0.5, -1.0, 2.0])

  @jit
  def combined(*args):
    losses, (grads, own, pullback) = grad_fn(*args)
    return losses, grads, own, pullback(jaxmtl.combine(grads, weights))

  losses, grads, own, shared = combined(trunk, specific, x)
  assert grads.shape == (TASKS, BATCH, 4)

  @jit
  def by_hand(*args):
    of_heads = jax.grad(lambda h: head_losses(trunk, h, x).sum())(specific)
    return head_losses(*args), jaxmtl.combine(loop(head_losses, *args), weights), of_heads

  want_losses, want_shared, want_own = by_hand(*heads)
  np.testing.assert_allclose(losses, want_losses, rtol=1e-6)
  assert_trees_close(shared, want_shared, 1e-5)
  assert_trees_close(own, want_own, 1e-5)


def test_vmap_over_seeds_and_scan(mlp):
  _, grad_fn, params, batch, _ = mlp
  seeds = jax.tree.map(lambda p: np.stack([p, 2 * p, -p]), params)
  one_by_one = jit(grad_fn)
  for chunk_size in (1, TASKS):
    chunked = jaxmtl.task_value_and_grad(mlp[0], chunk_size=chunk_size)

    @jit
    def scanned(seeds, chunked=chunked):
      step = jax.vmap(lambda p: chunked(p, batch)[1])
      return jax.lax.scan(lambda c, _: (c, step(seeds)), 0, None, 2)[1]

    found = jax.tree.map(np.asarray, scanned(seeds))
    for i in range(3):
      one = jax.tree.map(lambda p, i=i: p[i], seeds)
      want = one_by_one(one, batch)[1]
      for step in range(2):
        assert_trees_close(jax.tree.map(lambda g, s=step, i=i: g[s, i], found), want, 1e-5)


@pytest.mark.parametrize("chunk_size", [None, TASKS])
def test_batch_sharded_over_eight_devices(mlp, mesh, chunk_size):
  losses_fn, _, params, batch, (losses, grads) = mlp
  grad_fn = jit(jaxmtl.task_value_and_grad(losses_fn, chunk_size=chunk_size))
  sharded = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
  copies = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
  got_losses, got = grad_fn(copies, sharded)
  assert len(got_losses.sharding.device_set) == 8
  np.testing.assert_allclose(got_losses, losses, rtol=1e-5)
  assert_trees_close(got, grads, 1e-5)


def test_pmap_over_eight_devices(mlp, mesh):
  _, grad_fn, params, batch, (losses, grads) = mlp
  split = jax.tree.map(lambda x: x.reshape(8, -1, *x.shape[1:]), batch)
  step = jax.pmap(
    lambda p, b: jax.lax.pmean(grad_fn(p, b), "data"), axis_name="data", in_axes=(None, 0)
  )
  got_losses, got = jax.tree.map(lambda x: x[0], step(params, split))
  np.testing.assert_allclose(got_losses, losses, rtol=1e-5)
  assert_trees_close(got, grads, 1e-5)


def test_shard_map_with_averaged_losses(mlp, mesh):
  losses_fn, _, params, batch, (losses, grads) = mlp
  spec = PartitionSpec
  mean_fn = jaxmtl.task_value_and_grad(lambda p, b: jax.lax.pmean(losses_fn(p, b), "data"))
  step = jax.shard_map(mean_fn, mesh=mesh, in_specs=(spec(), spec("data")), out_specs=spec())
  got_losses, got = jit(step)(params, batch)
  np.testing.assert_allclose(got_losses, losses, rtol=1e-5)
  assert_trees_close(got, grads, 1e-5)


@pytest.mark.parametrize(
  ("losses_fn", "message"),
  [
    (lambda w: w.sum(), r"losses must have shape \[T\].*got \(\)"),
    (lambda w: jnp.outer(w, w), r"losses must have shape \[T\].*got \(2, 2\)"),
    (lambda w: {"a": w.sum(), "b": w}, r"losses\['b'\] has shape \(2,\)"),
    (lambda w: w[:0], "there are no tasks"),
    (lambda w: {}, "there are no tasks"),
    (lambda w: jnp.arange(2), "must be floating point"),
  ],
)
def test_wrong_losses_raise(losses_fn, message):
  with pytest.raises(ValueError, match=message):
    jaxmtl.task_value_and_grad(losses_fn)(jnp.ones(2))


def test_wrong_options_raise():
  for chunk_size in (0, -1):
    with pytest.raises(
      ValueError, match=f"chunk_size must be at least 1 or None, got {chunk_size}"
    ):
      jaxmtl.task_value_and_grad(head_losses, chunk_size=chunk_size)
  with pytest.raises(ValueError, match="argument 1 is in argnums and in specific_argnums"):
    jaxmtl.task_value_and_grad(head_losses, argnums=(0, 1), specific_argnums=1)
