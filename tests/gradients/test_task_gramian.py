"""The Gramian without task gradients against the Gramian of task gradients."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import jaxmtl
from jaxmtl import models
from jaxmtl.gradients import layerwise, linear_layers, program

TASKS, BATCH = 3, 4
WEIGHTS = jnp.array([0.5, -1.0, 2.0])
# Nothing here runs long enough to repay an optimising compiler.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class MLP(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.tanh(nn.Dense(16)(x.reshape(len(x), -1)))
    return nn.Dense(TASKS)(nn.tanh(nn.Dense(16, use_bias=False)(x)))


class CNN(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Conv(4, (3, 3), strides=(2, 1), kernel_dilation=(1, 2))(x)
    x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
    x = nn.relu(models.Conv(8, (3, 3), 2, use_bias=False)(x))
    return nn.Dense(TASKS)(x.mean((1, 2)))


class Attention(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.DenseGeneral((2, 4), axis=(1, 3))(x.reshape(len(x), 4, -1, 6)).reshape(len(x), -1, 8)
    x += nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
    return nn.Dense(TASKS)(nn.LayerNorm()(x).mean(1))


class SharedTwice(nn.Module):
  """One dense layer called twice, on inputs of different sizes."""

  @nn.compact
  def __call__(self, x):
    x = x.reshape(len(x), 12, -1)
    layer = nn.Dense(x.shape[-1])
    x = nn.tanh(layer(x))
    return nn.Dense(TASKS)(nn.tanh(layer(x.mean(1))))


class Embedded(nn.Module):
  """Repeated entries, and entries out of range, whose gradient is dropped."""

  @nn.compact
  def __call__(self, x):
    table = self.param("table", nn.initializers.normal(1.0), (30, 8))
    indices = jnp.round(10 * jnp.abs(x[..., 0])).astype(jnp.int32).reshape(len(x), -1)
    dropped = jnp.nan_to_num(table.at[indices + 20].get(mode="fill", fill_value=0.0))
    clipped = nn.Embed(5, 8)(jnp.minimum(indices, 4))
    return nn.Dense(TASKS)(nn.tanh(dropped + clipped).mean(1))


MODELS = {
  "mlp": MLP(),
  "cnn": CNN(),
  "attention": Attention(),
  "shared twice": SharedTwice(),
  "embedding": Embedded(),
}


@functools.cache
def initialised(name):
  """Variables in single precision, made once."""
  with jax.enable_x64(False):
    images = np.random.default_rng(0).normal(size=(BATCH, 6, 6, 4)).astype(np.float32)
    return jit(MODELS[name].init)(jax.random.key(0), images)


def problem(name, dtype=jnp.float32):
  """`losses_fn(params, batch)`, parameters, batch."""
  model = MODELS[name]
  rng = np.random.default_rng(0)
  images = rng.normal(size=(BATCH, 6, 6, 4)).astype(dtype)
  targets = rng.normal(size=(BATCH, TASKS)).astype(dtype)
  variables = jax.tree.map(np.asarray, initialised(name))
  params = jax.tree.map(lambda p: p.astype(dtype), variables["params"])

  def losses_fn(params, batch):
    images, targets = batch
    out, _ = model.apply({**variables, "params": params}, images, mutable=["batch_stats"])
    return ((out.astype(dtype) - targets) ** 2 * jnp.arange(1.0, TASKS + 1).astype(dtype)).mean(0)

  return losses_fn, params, (images, targets)


@pytest.fixture(params=["chosen", "implicit", "explicit"])
def choice(request, monkeypatch):
  """The layers' form: as the cost says, or all of one kind."""
  if request.param != "chosen":
    monkeypatch.setattr(layerwise, "_is_cheaper", lambda *_: request.param == "implicit")
  return request.param


def check(losses_fn, params, *args, tolerance=1e-5):
  """Gramian and combined gradient are those of explicit task gradients."""

  @jit
  def found(params, *args):
    losses, (gramian, pullback) = jaxmtl.task_gramian(losses_fn)(params, *args)
    explicit, task_grads = jaxmtl.task_value_and_grad(losses_fn)(params, *args)
    of_gradients = jaxmtl.gramian(task_grads), jaxmtl.combine(task_grads, WEIGHTS)
    return (losses, gramian, pullback(WEIGHTS)), (explicit, *of_gradients)

  (losses, gramian, gradient), (want_losses, want, combined) = found(params, *args)
  np.testing.assert_allclose(losses, want_losses, rtol=tolerance)
  assert gramian.dtype == want.dtype
  assert_close(gramian, want, want, tolerance)
  assert jax.tree.structure(gradient) == jax.tree.structure(combined)
  for got, leaf in zip(jax.tree.leaves(gradient), jax.tree.leaves(combined), strict=True):
    assert (got.shape, got.dtype) == (leaf.shape, leaf.dtype)
    assert_close(got, leaf, np.sqrt(np.trace(np.asarray(want, np.float64))), tolerance)


def assert_close(got, want, scale, tolerance):
  got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
  assert np.all(np.isfinite(got))
  np.testing.assert_array_less(np.abs(got - want), tolerance * np.abs(scale).max() + 1e-300)


def tapped(losses_fn, params, *args):
  """Paths of the parameters that could be tapped, with the kinds of their layers."""
  paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(params), strict=True)
  treedef = jax.tree.structure(params)
  flat = lambda *leaves: losses_fn(jax.tree.unflatten(treedef, leaves), *args)  # noqa: E731
  uses = linear_layers.linear_uses(program.flatten(jax.make_jaxpr(flat)(*leaves)), len(leaves))
  return {
    jax.tree_util.keystr(paths[i]): [type(layer).__name__ for layer in found]
    for i, found in uses.items()
  }


@pytest.mark.parametrize("name", MODELS)
def test_is_the_explicit_gramian(name, choice):
  check(*problem(name))


@pytest.mark.parametrize("name", ["cnn", "attention"])
def test_is_the_explicit_gramian_in_double_precision(name, x64, monkeypatch):
  monkeypatch.setattr(layerwise, "_is_cheaper", lambda *_: True)
  check(*problem(name, jnp.float64), tolerance=1e-12)


def test_every_linear_layer_is_found():
  kernels = {name: tapped(*problem(name)) for name in MODELS}
  assert len(kernels["mlp"]) == 3
  kinds = {name: sorted(itertools.chain(*found.values())) for name, found in kernels.items()}
  assert kinds["cnn"] == [
    "Convolution",
    "Dense",
    "Dense",  # models.Conv's matrix products on CPU
  ]
  assert len(kernels["attention"]) == 6  # the projections of q, k, v and out among them
  assert sorted(map(len, kernels["shared twice"].values())) == [1, 2]
  assert kinds["embedding"] == ["Dense", "Embedding", "Embedding"]


def test_bfloat16(monkeypatch):
  monkeypatch.setattr(layerwise, "_is_cheaper", lambda *_: True)
  check(*problem("mlp", jnp.bfloat16), tolerance=3e-2)


def weight(seed, *shape):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape) / shape[0] ** 0.5, jnp.float32)


PARAMS = {"a": weight(0, 6, 6), "b": weight(1, 6, 6), "c": weight(2, 6, TASKS)}
X = jnp.asarray(np.random.default_rng(3).normal(size=(5, 6)), jnp.float32)


def transposed(params, x):
  """`a` enters as itself and transposed, which are two forms."""
  return (jnp.tanh(jnp.tanh(x @ params["a"]) @ params["a"].T @ params["b"]) @ params["c"]).mean(0)


def decayed(params, x):
  """A penalty is no linear layer."""
  return transposed(params, x) + jnp.arange(TASKS) * jnp.sum(params["b"] ** 2)


def looped(params, x):
  """A parameter in a scan, one under a checkpoint, one left unused in a dead branch."""
  x = jax.lax.scan(lambda x, _: (jnp.tanh(x @ params["a"]), None), x, None, 3)[0]
  return (jax.checkpoint(lambda x: jnp.tanh(x @ params["b"]))(x) @ params["c"]).mean(0)


def products_of_parameters(params, x):
  return (jnp.tanh(x @ (params["a"] @ params["b"])) @ params["c"]).mean(0)


def on_the_left(params, x):
  """Kernels as left operands, reshaped and transposed before."""
  kernel = params["b"].reshape(2, 3, 6).transpose(2, 0, 1)
  hidden = jnp.tanh(jnp.einsum("ok,nk->on", params["a"], x))
  return (
    jnp.tanh(jnp.einsum("oij,ijn->on", kernel, hidden.reshape(2, 3, -1))).T @ params["c"]
  ).mean(0)


def jitted(params, x):
  """The same jitted function twice, and a rule of its own in between."""
  layer = jax.jit(lambda kernel, x: jax.nn.relu(x @ kernel))
  return (layer(params["b"], layer(params["a"], x)) @ params["c"]).mean(0)


def returned(params, x):
  """A parameter that is itself a loss."""
  return (jnp.tanh(x @ params["a"]) @ params["c"]).mean(0) + params["b"][0, :TASKS]


HAND_WRITTEN = {
  transposed: {"b", "c"},
  decayed: {"c"},
  looped: {"c"},
  products_of_parameters: {"c"},
  on_the_left: {"a", "b", "c"},
  jitted: {"a", "b", "c"},
  returned: {"a", "c"},
}


@pytest.mark.parametrize("losses_fn", HAND_WRITTEN, ids=lambda f: f.__name__)
def test_hand_written_functions(losses_fn, monkeypatch):
  monkeypatch.setattr(layerwise, "_is_cheaper", lambda *_: True)
  found = {path[2:-2] for path in tapped(losses_fn, PARAMS, X)}
  assert found == HAND_WRITTEN[losses_fn]
  check(losses_fn, PARAMS, X)


def test_nnx_modules():
  """A library other than Linen."""

  class Net(nnx.Module):
    def __init__(self, rngs):
      self.first, self.norm = nnx.Linear(6, 8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
      self.last = nnx.Linear(8, TASKS, rngs=rngs)

  net = Net(nnx.Rngs(0))
  graph, params = nnx.split(net)

  def losses_fn(params, x):
    net = nnx.merge(graph, params)
    return (net.last(nnx.relu(net.norm(net.first(x)))) ** 2).mean(0)

  assert len(tapped(losses_fn, params, X)) == 2
  check(losses_fn, params, X)


def test_one_task_and_dict_losses_and_aux():
  fn = lambda p, x: ({"only": jnp.mean((x @ p) ** 2)}, {"seen": x.sum()})  # noqa: E731

  @jit
  def found(params):
    (losses, aux), (gramian, pullback) = jaxmtl.task_gramian(fn, has_aux=True)(params, X)
    gradient = jax.grad(lambda p: fn(p, X)[0]["only"])(params)
    return losses, aux, gramian, pullback(jnp.array([2.0])), gradient

  losses, aux, gramian, doubled, gradient = found(PARAMS["a"])
  assert losses.shape == (1,)
  np.testing.assert_allclose(gramian, [[np.sum(np.asarray(gradient) ** 2)]], rtol=1e-5)
  np.testing.assert_allclose(doubled, 2 * np.asarray(gradient), rtol=1e-5)
  np.testing.assert_allclose(aux["seen"], X.sum(), rtol=1e-6)


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_split_form(chunk_size):
  def losses_fn(trunk, heads, x):
    z = jnp.tanh(x @ trunk["kernel"] + trunk["bias"])
    return jnp.stack([jnp.mean((z @ heads[t] - t) ** 2) for t in range(TASKS)])

  trunk, heads = {"kernel": weight(4, 6, 8), "bias": jnp.ones(8)}, weight(5, TASKS, 8)
  options = {"specific_argnums": 1, "chunk_size": chunk_size}
  own_weights = jnp.array([1.0, 2.0, 3.0])

  @jit
  def found(trunk, heads):
    losses, (gramian, pullback) = jaxmtl.task_gramian(losses_fn, **options)(trunk, heads, X)
    explicit, task_grads = jaxmtl.task_value_and_grad(losses_fn)(trunk, heads, X)
    (shared, own), (_, own_alike) = pullback(WEIGHTS, own_weights), pullback(WEIGHTS)
    of_heads = [
      jax.grad(lambda h, w=weights: w @ losses_fn(trunk, h, X))(heads)
      for weights in (own_weights, WEIGHTS)
    ]
    want = jaxmtl.gramian(task_grads), jaxmtl.combine(task_grads, WEIGHTS), *of_heads
    return (losses, gramian, shared, own, own_alike), (explicit, *want)

  for got, want in zip(*map(jax.tree.leaves, found(trunk, heads)), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_vmap_over_seeds_inside_scan():
  losses_fn, params, batch = problem("cnn")
  seeds = jax.tree.map(lambda p: np.stack([p, 2 * p]), params)

  def gramian(params):
    return jaxmtl.task_gramian(losses_fn)(params, batch)[1][0]

  step = lambda carry, _: (carry, jax.vmap(gramian)(seeds))  # noqa: E731
  got = jit(lambda: jax.lax.scan(step, 0, None, 2)[1])()
  one = jit(gramian)
  for seed in range(2):
    want = one(jax.tree.map(lambda p, s=seed: p[s], seeds))
    np.testing.assert_allclose(np.asarray(got)[:, seed], np.stack([want, want]), rtol=1e-4)


def test_sharded_batch_is_that_of_one_device(mesh):
  losses_fn, params, (images, targets) = problem("mlp")
  images, targets = np.tile(images, (4, 1, 1, 1)), np.tile(targets, (4, 1))
  images += np.arange(16.0, dtype=np.float32)[:, None, None, None] / 16

  @jit
  def gramian(params, batch):
    return jaxmtl.task_gramian(losses_fn)(params, batch)[1][0]

  place = NamedSharding(mesh, PartitionSpec("data"))
  got = gramian(params, jax.device_put((images, targets), place))
  np.testing.assert_allclose(got, gramian(params, (images, targets)), rtol=1e-4)


def test_no_kernel_gradient_is_formed():
  """A batch of 4 and kernels of 256 x 256: nothing of T kernels' size is in the program."""
  params = [weight(i, 256, 256) for i in range(3)]

  def losses_fn(params, x):
    for kernel in params:
      x = jnp.tanh(x @ kernel)
    return jnp.stack([jnp.mean(x[:, t] ** 2) for t in range(TASKS)])

  gramian = jax.jit(lambda p, x: jaxmtl.task_gramian(losses_fn)(p, x)[1][0])
  text = gramian.lower(params, jnp.ones((4, 256))).compile().as_text()
  assert "f32[256,256]" in text
  assert f"f32[{TASKS},256,256]" not in text


def test_bad_input_raises():
  losses_fn = lambda p, x: (x @ p).mean(0)  # noqa: E731
  with pytest.raises(ValueError, match="chunk_size must be at least 1"):
    jaxmtl.task_gramian(losses_fn, chunk_size=0)
  with pytest.raises(ValueError, match="argument 0 is in argnums and in specific_argnums"):
    jaxmtl.task_gramian(losses_fn, specific_argnums=0)
  with pytest.raises(ValueError, match=r"losses must have shape \[T\]"):
    jaxmtl.task_gramian(lambda p, x: x @ p)(PARAMS["a"], X)
  _, (_, pullback) = jaxmtl.task_gramian(losses_fn)(PARAMS["a"], X)
  with pytest.raises(ValueError, match="weights has length 2"):
    pullback(jnp.ones(2))
