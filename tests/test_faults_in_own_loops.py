"""What a researcher's own loop may do: these gave wrong numbers, or an error without help."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxmtl

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
COMPLEX = np.array([[1 + 1j, 2 - 1j], [1 - 2j, -3 + 0.5j]], np.complex64)


# --- Complex parameters


def as_real(rows):
  return np.stack([rows.real, rows.imag], -1).reshape(len(rows), -1)


def test_the_gramian_of_complex_gradients_is_that_of_their_parts():
  real = as_real(COMPLEX)
  got = jaxmtl.gramian(jnp.asarray(COMPLEX))
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, real @ real.T, rtol=1e-6)


@pytest.mark.parametrize("name", ["pcgrad", "mgda", "graddrop", "moco", "metabalance", "upgrad"])
def test_complex_gradients_are_aggregated_as_their_parts(name):
  method = getattr(jaxmtl, name)(2)
  zeros = jnp.zeros(2, jnp.complex64)
  losses = jnp.ones(2)
  plain = jnp.zeros((2, 2))

  @jit
  def both(rows, real):
    got, _ = method.update(rows, method.init(zeros), zeros, losses=losses)
    return got, method.update(real, method.init(plain), plain, losses=losses)[0]

  got, want = map(np.asarray, both(COMPLEX, as_real(COMPLEX).reshape(2, 2, 2)))
  assert got.dtype == jnp.complex64
  np.testing.assert_allclose(as_real(got[None])[0].reshape(2, 2), want, rtol=1e-5, atol=1e-6)


def test_a_complex_layer_is_explicit():
  def losses_fn(w, x):
    y = x @ w
    return jnp.stack([jnp.sum(jnp.abs(y) ** 2), jnp.sum(y.real)])

  @jit
  def both(w, x):
    _, (got, pullback) = jaxmtl.task_gramian(losses_fn)(w, x)
    _, grads = jaxmtl.task_value_and_grad(losses_fn)(w, x)
    return (got, pullback(jnp.ones(2))), (jaxmtl.gramian(grads), grads.sum(0))

  for got, want in zip(*both(COMPLEX, np.complex64([[1 + 2j, 0.5 - 1j]])), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5)


# --- Names


TASKS = jaxmtl.Tasks("segmentation", "depth")
GRADS = jnp.array([[1.0, 0.0], [-1.0, 2.0]])  # of depth, segmentation
ZEROS = jnp.zeros(2)


def test_options_by_name_mean_the_task_of_that_name():
  assert TASKS == 2
  assert jaxmtl.constant(TASKS, {"segmentation": 1, "depth": 0}).weigh([5.0, 5.0], ())[0][1] == 1
  losses = {"segmentation": 2.0, "depth": 1.0}
  for named, by_index in (
    (jaxmtl.gcs(TASKS, "segmentation"), jaxmtl.gcs(2, 1)),
    (jaxmtl.pcd(TASKS, "segmentation", {"segmentation": 0, "depth": 0.5}), jaxmtl.pcd(2, 1, 0.5)),
    (jaxmtl.metabalance(TASKS, main="segmentation"), jaxmtl.metabalance(2, main=1)),
    (jaxmtl.upgrad(TASKS, {"segmentation": 3, "depth": 1}), jaxmtl.upgrad(2, [1.0, 3.0])),
    (jaxmtl.graddrop(TASKS, {"segmentation": 0, "depth": 1}), jaxmtl.graddrop(2, [1.0, 0.0])),
    (
      jaxmtl.stch(TASKS, mu=0.5, preference={"segmentation": 3, "depth": 1}),
      jaxmtl.stch(2, mu=0.5, preference=[1.0, 3.0]),
    ),
  ):

    @jit
    def both(grads, named=named, by_index=by_index):
      got, _ = named.update(grads, named.init(ZEROS), ZEROS, losses=losses)
      ordered = jnp.array([1.0, 2.0])
      return got, by_index.update(grads, by_index.init(ZEROS), ZEROS, losses=ordered)[0]

    np.testing.assert_array_equal(*both(GRADS))
  for make in (jaxmtl.auto_lambda, jaxmtl.moml, jaxmtl.forum):
    np.testing.assert_array_equal(make(TASKS, ["segmentation"]).bilevel.outer[0], [0, 1])


def test_losses_and_masks_by_name():
  method = jaxmtl.dwa(2)
  weights, _ = method.weigh({"b": 1.0, "a": 2.0}, method.init(None), {"b": True, "a": False})
  assert weights.tolist() == [0, 1]
  method = jaxmtl.pcgrad(TASKS)
  got, _ = method.update(GRADS, method.init(ZEROS), mask={"depth": True, "segmentation": False})
  np.testing.assert_array_equal(got, GRADS[0])


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda: jaxmtl.gcs(TASKS, "normals"),
      "primary='normals' is no task; the tasks are depth, seg",
    ),
    (lambda: jaxmtl.gcs(2, "depth"), "give all names, as num_tasks=jaxmtl.Tasks"),
    (
      lambda: jaxmtl.constant(TASKS, {"depth": 1}),
      "weights has the names depth, but the tasks are",
    ),
    (lambda: jaxmtl.Tasks("a", "a"), "tasks must be different names"),
    (lambda: TASKS.index("x"), "there is no task 'x'"),
    (lambda: jaxmtl.dwa(2).weigh({"a": 1.0, 3: 2.0}, ()), "name tasks by strings"),
    (lambda: jaxmtl.dwa(2).weigh({"a": 1.0, "b": {"c": 2.0}}, ()), r"losses\['b'\] must be one"),
  ],
)
def test_wrong_names_are_told(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_names_survive_pickling():
  import copy
  import pickle

  for again in (pickle.loads(pickle.dumps(TASKS)), copy.deepcopy(TASKS)):
    assert (again, again.names) == (2, TASKS.names)


# --- Keys


def test_methods_draw_apart_and_by_vmapped_key():
  states = [getattr(jaxmtl, name)(3).init(None).key for name in ("pcgrad", "graddrop", "rlw")]
  assert len({tuple(jax.random.key_data(key).tolist()) for key in states}) == 3
  grads = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))

  def update(key):
    method = jaxmtl.pcgrad(6, key=key)
    return method.update(grads, method.init(ZEROS))[0]

  found = jit(jax.vmap(update))(jax.random.split(jax.random.key(0), 8))
  assert len(np.unique(np.asarray(found).round(5), axis=0)) > 1
  np.testing.assert_array_equal(update(3), update(jax.random.key(3)))
  np.testing.assert_array_equal(update(3), update(jax.random.PRNGKey(3)))


# --- States on many devices


@pytest.mark.parametrize("under_jit", [False, True])
@pytest.mark.parametrize("name", ["moco", "db_mtl", "excess_mtl", "metabalance"])
def test_task_fold_states_lie_where_parameters_lie(name, under_jit, mesh):
  place = NamedSharding(mesh, PartitionSpec("data", None))
  params = {"w": jax.device_put(jnp.ones((16, 4)), place)}
  tx = optax.chain(getattr(jaxmtl, name)(3), optax.adam(0.1))
  state = (jax.jit(tx.init) if under_jit else tx.init)(params)
  folded = [leaf for leaf in jax.tree.leaves(state[0]) if leaf.shape == (3, 16, 4)]
  assert (name == "metabalance") == (not folded)
  for leaf in folded:
    assert leaf.addressable_shards[0].data.shape == (3, 2, 4)
  # optax's own way to shard a state treats parameters' states alone as parameters.
  places = optax.tree.map_params(tx, lambda _, spec: spec, state, {"w": place})
  assert places[1][0].mu == {"w": place}
  assert jax.tree.leaves(places[0])[0] is jax.tree.leaves(state[0])[0]


# --- The Gramian form takes what the explicit one takes


def test_symbolic_batches_and_any_aux():
  def losses_fn(w, x):
    y = jnp.tanh(x @ w)
    return jnp.stack([jnp.mean(y), jnp.mean(y**2)]), {"name": "a", "count": 3, "y": y, "f": len}

  w, x = jnp.ones((4, 8)), jnp.ones((5, 4))
  (_, aux), (got, _) = jaxmtl.task_gramian(losses_fn, has_aux=True)(w, x)
  assert (aux["name"], aux["count"], aux["f"], aux["y"].shape) == ("a", 3, len, (5, 8))

  def step(w, x):
    (_, _), (gramian, pullback) = jaxmtl.task_gramian(losses_fn, has_aux=True)(w, x)
    return gramian, pullback(jnp.ones(2))

  shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 4"), jnp.float32)
  exported = jax.export.export(jax.jit(step))(w, shape)
  np.testing.assert_allclose(exported.call(w, x)[0], got, rtol=1e-5)


@pytest.mark.parametrize("form", [jaxmtl.task_value_and_grad, jaxmtl.task_gramian])
@pytest.mark.parametrize(
  ("leaf", "dtype"), [(jnp.arange(2), "int32"), (jnp.array([True]), "bool"), ("key", "key<fry>")]
)
def test_leaves_without_gradient_are_named(form, leaf, dtype):
  leaf = jax.random.key(0) if isinstance(leaf, str) else leaf
  with pytest.raises(TypeError, match=rf"argument 0\['n'\] has dtype {dtype}, which has no grad"):
    form(lambda p: jnp.stack([p["w"].sum()]))({"w": jnp.ones(2), "n": leaf})


def test_parameters_without_arrays():
  with pytest.raises(ValueError, match="the parameters hold no array"):
    jaxmtl.task_gramian(lambda p: jnp.ones(2))({})


# --- What losses_fn returns, and how it is called

W = jnp.ones(2)


@pytest.mark.parametrize("form", [jaxmtl.task_value_and_grad, jaxmtl.task_gramian])
@pytest.mark.parametrize(
  ("losses_fn", "options", "message"),
  [
    (lambda w: (w.sum(), w[0]), {}, "returned a tuple of 2: pass has_aux=True"),
    (lambda w: {"a": w.sum(), "b": jnp.array(1)}, {}, r"losses\['b'\] must be floating point.*int"),
    (lambda w: [w.sum(), True], {}, r"losses\[1\] must be floating point .* bool"),
    (lambda w: {"a": w.sum(), "b": {"c": w[0]}}, {}, r"losses\['b'\] must be one scalar, got dict"),
    (lambda w: {"a": w.sum(), 3: w[0]}, {}, "tasks are named by strings, got 3"),
    (lambda w: [w.sum(), None], {}, r"losses\[1\] must be one scalar, got NoneType"),
    (lambda w: w.sum(), {"has_aux": True}, "must return a pair"),
    (
      lambda w: w.sum(),
      {"argnums": 2},
      "argnums names argument 2, but losses_fn was called with 1",
    ),
  ],
)
def test_what_losses_fn_returns_is_checked(form, losses_fn, options, message):
  with pytest.raises(ValueError, match=message):
    form(losses_fn, **options)(W)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda tx, s: tx.update([ZEROS, ZEROS], s, ZEROS), "a list of 2 gradients; stack them"),
    (lambda tx, s: tx.update(GRADS.astype(int), s), "dtype int32, which is no gradient"),
    (
      lambda tx, s: tx.update({"a": GRADS}, s, {"a": ZEROS, "b": ZEROS}),
      r"for the parameter \['b'",
    ),
    (lambda tx, s: tx.update({"a": GRADS, "b": GRADS}, s, {"a": ZEROS}), r"gradient \['b'\] of no"),
    (lambda tx, s: tx.update({"a": None}, s, {"a": ZEROS}), "updates holds no array"),
    (lambda tx, s: tx.update(GRADS, s, mask=[0.5, 0.0]), "mask must be bool, .* soft weights"),
    (
      lambda tx, s: tx.update(GRADS, s, losses=[1.0]),
      r"losses has shape \(1,\) but must have \(2,",
    ),
    (lambda tx, s: tx.update(GRADS[:1], s), "jaxmtl.accumulate go before it"),
  ],
)
@pytest.mark.parametrize("name", ["pcgrad", "graddrop", "moco"])
def test_wrong_arguments_are_told(name, call, message):
  tx = getattr(jaxmtl, name)(2)
  with pytest.raises(ValueError, match=message):
    call(tx, tx.init(ZEROS))


@pytest.mark.parametrize("tx", [jaxmtl.pcgrad(2), jaxmtl.moco(2), jaxmtl.dwa(2)])
def test_misspelt_arguments_are_told_and_others_pass(tx):
  state = tx.init(ZEROS)
  with pytest.raises(TypeError, match="got masks=; did you mean mask="):
    tx.update(GRADS, state, ZEROS, losses=jnp.ones(2), masks=jnp.ones(2, bool))
  tx.update(GRADS, state, ZEROS, losses=jnp.ones(2), value=1.0, value_fn=len, anything=3)


def test_numpy_counts_and_bad_options():
  assert jaxmtl.pcgrad(np.int64(2)).update(GRADS, jaxmtl.pcgrad(2).init(ZEROS))[0].shape == (2,)
  with pytest.raises(TypeError, match="a number got 'x'"):
    jaxmtl.cagrad(2, c="x")


# --- Eager calls


@pytest.mark.parametrize("name", sorted(jaxmtl.aggregation.METHODS))
def test_a_second_eager_update_compiles_nothing(name, caplog):
  """An update that is not jitted is slow, but must not compile anew at every call."""
  tx = jaxmtl.aggregation.METHODS[name](3)
  grads, losses = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4))), jnp.ones(3)
  _, state = tx.update(grads, tx.init(jnp.zeros(4)), losses=losses)
  tx.update(grads, state, losses=losses)
  with jax.log_compiles(), caplog.at_level(logging.WARNING):
    tx.update(2 * grads, state, losses=losses)
  compiled = [
    r.getMessage() for r in caplog.records if "Finished XLA compilation" in r.getMessage()
  ]
  assert not [line for line in compiled if "multiply" not in line], compiled
