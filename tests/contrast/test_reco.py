"""ReCo's loss: against slow code with the same draws, draws against their distribution, edges."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy import special, stats

from jaxmtl.contrast import class_means, class_relations, feature_bank, reco_loss, update_bank
from jaxmtl.contrast import reco as module
from jaxmtl.contrast.classes import pixels_of
from jaxmtl.contrast.pools import draw, pools_of

GOLDEN = np.load(pathlib.Path(__file__).parent.parent / "goldens" / "reco.npz")
KEY = jax.random.key(0)
CLASSES, QUERIES, NEGATIVES = 4, 5, 7
SMALL = {"num_queries": QUERIES, "num_negatives": NEGATIVES}


def batch(seed=0, size=(2, 5, 6), classes=CLASSES, dimension=3):
  """Representations, labels with void and an absent class, validity, probabilities."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(-1, classes - 1, size)
  logits = rng.normal(size=(*size, classes)) * 2
  return {
    "representations": rng.normal(size=(*size, dimension)).astype(np.float32),
    "labels": labels,
    "valid": rng.random(size) < 0.8,
    "probabilities": special.softmax(logits, axis=-1).astype(np.float32),
  }


def eager_loss(given, key=KEY, **options):
  given = dict(given)
  return reco_loss(given.pop("representations"), key=key, **{**SMALL, **given, **options})


# One program for all tests: what is done one operation at a time is as many programs.
loss = jax.jit(eager_loss, static_argnames=("queries", "reduction", "strong_threshold"))


def at_temperature(given, temperature, strong_threshold):
  return eager_loss(given, temperature=temperature, strong_threshold=strong_threshold)


@functools.partial(jax.jit, static_argnames=("threshold", "keys"))
def pools(given, threshold=0.97, keys="related", graph_temperature=0.5):
  """What the loss draws from, and the pixels' classes."""
  pixels = pixels_of(given["representations"], given["labels"], CLASSES, given["valid"])
  flat = given["probabilities"].reshape(-1, CLASSES)
  sure = flat[np.arange(len(flat)), jnp.minimum(pixels.classes, CLASSES - 1)]
  return pixels.classes, pools_of(pixels, sure < threshold, keys, graph_temperature)


def by_hand(given, draws, threshold=0.6, temperature=0.5):
  """The definition, class by class and pixel by pixel, with the draws of each class."""
  r = np.asarray(given["representations"], float).reshape(-1, 3)
  y, valid = (np.asarray(given[n]).reshape(-1) for n in ("labels", "valid"))
  p = np.asarray(given["probabilities"]).reshape(-1, CLASSES)
  y = np.where(valid, y, -1)
  present = [c for c in range(CLASSES) if (y == c).any()]

  def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

  total = 0.0
  for c in present:
    doubt = [i for i in range(len(y)) if y[i] == c and p[i, c] < threshold]
    if not doubt:
      continue
    mean = r[y == c].mean(0)
    queries, keys = draws[c]
    for i, negatives in zip(queries, keys, strict=True):
      assert i in doubt
      assert all(y[n] not in (c, -1) for n in negatives)
      logits = np.array([cosine(r[i], mean), *(cosine(r[i], r[n]) for n in negatives)])
      logits /= temperature
      total += (np.log(np.exp(logits).sum()) - logits[0]) / len(queries)
  return total / len(present) if len(present) > 1 else 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_the_same_draws_it_is_the_definition(seed):
  given = batch(seed)
  _, drawn_from = pools(given, threshold=0.6)
  drawn = jax.jit(draw, static_argnums=(3, 4))
  draws = {
    c: tuple(map(np.asarray, drawn(drawn_from, KEY, jnp.asarray(c), QUERIES, NEGATIVES)))
    for c in range(CLASSES)
  }
  want = by_hand(given, draws)
  np.testing.assert_allclose(loss(given, strong_threshold=0.6), want, rtol=1e-5)
  found = loss(given, strong_threshold=0.6, reduction="sum")
  np.testing.assert_allclose(found, want * (CLASSES - 1), rtol=1e-5)
  np.testing.assert_allclose(
    jax.jit(at_temperature, static_argnums=(1, 2))(given, 0.2, 0.6),
    by_hand(given, draws, temperature=0.2),
    rtol=1e-5,
  )


def test_the_released_program_gives_the_same_on_average():
  given = {
    "representations": jnp.asarray(GOLDEN["rep"].transpose(0, 2, 3, 1)),
    "labels": jnp.asarray(GOLDEN["label"]),
    "valid": jnp.asarray(GOLDEN["mask"][:, 0] > 0),
    "probabilities": jnp.asarray(GOLDEN["prob"].transpose(0, 2, 3, 1)),
  }
  counts = {name: int(GOLDEN[name]) for name in ("num_queries", "num_negatives")}

  def one(key):
    def of(representations):
      return eager_loss({**given, "representations": representations}, key, **counts)

    return jax.value_and_grad(of)(given["representations"])

  values, grads = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(KEY, 100))
  error = abs(values.mean() - GOLDEN["loss_mean"]) / (GOLDEN["loss_std"] / 10)
  assert error < 5
  want, got = GOLDEN["grad_mean"].transpose(0, 2, 3, 1), grads.mean(0)
  assert (got * want).sum() / np.linalg.norm(got) / np.linalg.norm(want) > 0.98


def chi_square(counts, shares):
  """How likely counts as far from these shares are."""
  shares = np.asarray(shares, float)
  some = shares > 0
  assert not counts[~some].any()
  expected = shares[some] / shares[some].sum() * counts.sum()
  return stats.chisquare(counts[some], expected).pvalue


@pytest.mark.parametrize("keys", ["related", "random"])
def test_draws_follow_their_distribution(keys):
  given = batch(3)
  classes, drawn_from = pools(given, threshold=0.6, keys=keys)
  c, classes = 1, np.asarray(classes)

  @jax.jit
  def many(drawn_from):
    keys = jax.random.split(jax.random.key(5), 1000)
    return jax.vmap(lambda key: draw(drawn_from, key, jnp.asarray(c), 10, 4))(keys)

  @jax.jit
  def relate(given):
    rows = given["representations"], given["labels"]
    means, counts = class_means(*rows, CLASSES, given["valid"])
    return class_relations(means), counts

  queries, negatives = many(drawn_from)
  flat = np.asarray(given["probabilities"]).reshape(-1, CLASSES)
  doubt = (classes == c) & (flat[:, c] < 0.6)
  of_pixels = np.bincount(np.asarray(queries).ravel(), minlength=len(classes))
  assert chi_square(of_pixels, doubt.astype(float)) > 1e-3
  # Classes by their likeness, pixels of a class alike.
  relations, counts = map(np.asarray, relate(given))
  relations = relations[c] / 0.5
  likeness = np.exp(relations) if keys == "related" else np.asarray(counts, float)
  likeness = np.where((np.arange(CLASSES) == c) | (counts == 0), 0, likeness)
  drawn = np.bincount(np.asarray(negatives).ravel(), minlength=len(classes))
  by_class = np.array([drawn[classes == k].sum() for k in range(CLASSES)])
  assert chi_square(by_class, likeness) > 1e-3
  for k in np.flatnonzero(likeness):
    assert chi_square(drawn[classes == k], np.ones((classes == k).sum())) > 1e-3


def test_gradients_pass_through_queries_alone():
  given = batch(0)

  def of(representations):
    return loss({**given, "representations": representations}, strong_threshold=0.6)

  grads = np.abs(jax.jit(jax.grad(of))(given["representations"])).sum(-1)
  flat = np.asarray(given["probabilities"])
  labels = np.asarray(given["labels"])
  sure = np.take_along_axis(flat, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
  may = (labels >= 0) & np.asarray(given["valid"]) & (sure < 0.6)
  assert grads[may].any()
  assert not grads[~may].any()


def test_first_and_second_derivatives_are_those_of_the_formula(x64, monkeypatch):
  """The gradient is found on the way forwards; weights of tasks that are learned look along it."""
  given = jax.tree.map(lambda x: x.astype(float) if x.dtype == np.float32 else x, batch())
  at = given["representations"], 0.5
  along = np.random.default_rng(1).normal(size=at[0].shape), 1.0

  def found():
    def gradient(*at):
      return jax.grad(
        lambda r, t: eager_loss({**given, "representations": r}, temperature=t), (0, 1)
      )(*at)

    return jax.jit(lambda: jax.jvp(gradient, at, along))()

  ours = found()
  monkeypatch.setattr(module, "_of_class", module._of_class.fun)
  module._loss.clear_cache()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), ours, found())
  module._loss.clear_cache()
  assert float(jnp.abs(ours[1][0]).max()) > 1e-3


def test_easy_and_random_queries():
  given = batch(0)
  sure = given | {"probabilities": np.full((2, 5, 6, CLASSES), 0.99, np.float32)}
  assert loss(sure) == 0  # no pixel is in doubt
  assert loss(sure, queries="easy") == loss(sure, queries="random") > 0
  assert loss(given, queries="easy", strong_threshold=1.0) == 0


def test_degenerate_batches_have_defined_values():
  given = batch(0)
  one = given | {"labels": np.where(given["labels"] >= 0, 2, -1)}
  void = given | {"labels": np.full_like(given["labels"], -1)}
  value = jax.jit(
    jax.value_and_grad(lambda r, labels: loss({**given, "representations": r, "labels": labels}))
  )
  for case in (one, void):
    found, grads = value(case["representations"], case["labels"])
    assert found == 0
    assert not np.any(grads)
  # Representations of length 0, and whatever lies beneath the mask.
  zero = given | {"representations": np.zeros_like(given["representations"])}
  found, grads = value(zero["representations"], zero["labels"])
  assert np.isfinite(found)
  assert np.isfinite(grads).all()
  out = (given["labels"] < 0) | ~given["valid"]
  clean, _ = value(given["representations"], given["labels"])
  dirty = np.where(out[..., None], np.float32(np.nan), given["representations"])
  found, grads = value(dirty, given["labels"])
  np.testing.assert_array_equal(found, clean)
  np.testing.assert_allclose(clean, loss(given), rtol=1e-6)
  assert np.isfinite(grads).all()


def test_a_network_that_diverged_does_not_look_perfect():
  given = batch(0)
  broken = given["representations"].copy()
  broken[tuple(np.argwhere(given["labels"] >= 0)[0])] = np.nan
  assert np.isnan(loss(given | {"representations": broken, "valid": None}))
  # Probabilities are the classifier's, whose own loss tells; here its pixels are in doubt.
  unknown = given | {"probabilities": np.full((2, 5, 6, CLASSES), np.nan, np.float32)}
  assert loss(unknown) == loss(given, queries="random") > 0


def test_one_program_serves_all_classes_and_a_mesh_gives_one_devices_value(mesh):
  run = jax.jit(
    lambda given: jax.value_and_grad(lambda r: loss({**given, "representations": r}))(
      given["representations"]
    )
  )
  given = batch(0, size=(8, 3, 4))
  alone, grads = run(given)
  other = batch(7, size=(8, 3, 4)) | {"labels": np.full_like(given["labels"], 3)}
  run(other)
  assert run._cache_size() == 1
  spread = jax.device_put(given, NamedSharding(mesh, PartitionSpec("data")))
  found, spread_grads = run(spread)
  np.testing.assert_allclose(found, alone, rtol=1e-5)
  np.testing.assert_allclose(spread_grads, grads, atol=1e-5)


def test_bfloat16_and_vmap_over_seeds():
  given = batch(0)
  low = given | {"representations": given["representations"].astype(jnp.bfloat16)}
  assert loss(low).dtype == jnp.float32
  np.testing.assert_allclose(loss(low), loss(given), rtol=0.02)
  keys = jax.random.split(KEY, 3)
  many = jax.jit(jax.vmap(functools.partial(loss, given)))(keys)
  np.testing.assert_allclose(many, [loss(given, key) for key in keys], rtol=1e-5)


def test_keys_of_past_batches():
  bank = feature_bank(CLASSES, 6, 3)
  given = batch(0)
  assert loss(given, bank=bank) == 0  # it is empty
  past = batch(9)
  put = jax.jit(functools.partial(update_bank, key=KEY, per_class=4))
  bank = put(bank, past["representations"], past["labels"])
  assert bank.filled.tolist() == [4, 4, 4, 0]
  bank = put(bank, past["representations"], past["labels"])
  assert bank.filled.tolist() == [8, 8, 8, 0]
  features = np.asarray(bank.features)
  np.testing.assert_allclose(np.linalg.norm(features[:3], axis=-1), 1, rtol=1e-6)
  units = np.asarray(past["representations"]).reshape(-1, 3)
  units = units / np.linalg.norm(units, axis=1, keepdims=True)
  labels = np.asarray(past["labels"]).ravel()
  for c in range(3):
    for kept in features[c]:
      assert np.abs(units[labels == c] - kept).sum(1).min() < 1e-5
  # A class may be alone in its batch: the others are in the bank.
  one = given | {"labels": np.where(given["labels"] >= 0, 2, -1)}
  assert np.isfinite(loss(one, bank=bank))
  assert loss(one, bank=bank) > 0
  with pytest.raises(ValueError, match="bank must be of 4 classes and 3 features, got 5 and 3"):
    loss(given, bank=feature_bank(5, 6, 3))
  with pytest.raises(ValueError, match="representations must have the bank's 3 features, got 2"):
    put(bank, past["representations"][..., :2], past["labels"])
  with pytest.raises(ValueError, match="per_class must be from 1 to the bank's size, 6, got 7"):
    update_bank(bank, past["representations"], past["labels"], key=KEY, per_class=7)


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    ({"labels": np.full((2, 5, 6), 9)}, ValueError, "classes from 0 to 3 where valid, got 9"),
    ({"labels": np.zeros((2, 5, 7), int)}, ValueError, r"labels must have the shape of repr"),
    ({"labels": np.zeros((2, 5, 6))}, TypeError, "labels must be integer classes, got dtype"),
    ({"valid": np.full((2, 5, 6), 0.5)}, ValueError, "valid must be bool or 0 and 1, got 0.5"),
    ({"valid": np.ones((2, 5))}, ValueError, r"valid must have the shape of labels, \(2, 5, 6\)"),
    ({"probabilities": np.ones((2, 5, 4))}, ValueError, r"probabilities must be \(2, 5, 6\) with"),
    ({"probabilities": np.ones((2, 5, 6, 1))}, ValueError, "num_classes must be at least 2"),
    ({"strong_threshold": 1.2}, ValueError, "strong_threshold must be between 0 and 1, got 1.2"),
    ({"temperature": 0}, ValueError, "temperature must be above 0, got 0"),
    ({"num_queries": 0}, ValueError, "num_queries must be at least 1, got 0"),
    ({"keys": "hard"}, ValueError, "keys must be one of related, random, got 'hard'"),
  ],
)
def test_bad_input_is_named(change, error, message):
  with pytest.raises(error, match=message):
    eager_loss({**batch(0), **change})
