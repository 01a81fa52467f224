"""CIFAR-100's domains and CelebA's attributes, on small folders in the form of TFDS."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.auto_lambda.config import PRESETS
from experiments.auto_lambda.jobs import MULTI_TASK, plan, recipe_of
from experiments.auto_lambda.run import run
from experiments.problems import domains
from experiments.runner.config import override
from experiments.runner.feeds import Call
from experiments.runner.mesh import Layout
from jaxmtl import data, models

pytestmark = pytest.mark.usefixtures("one_layer", "blank_figures")
SMALL = override(
  PRESETS["cifar100"],
  backbone="convnet4",
  width=2,
  epochs=1,
  batch_size=2,
  methods=("auto_lambda",),
  auxiliary_methods=(),
)


def images_of(rng, per_class, domains=20):
  classes = np.repeat(np.arange(5 * domains), per_class)
  return rng.integers(0, 256, (len(classes), 8, 8, 3), dtype=np.uint8), classes


@pytest.fixture
def cifar(write_tfds):
  """One image of each class for training, twelve for testing."""
  rng = np.random.default_rng(0)
  features = {"label": 100, "coarse_label": 20}

  def split(per_class):
    images, classes = images_of(rng, per_class)
    return [(x, {"label": y, "coarse_label": y // 5}) for x, y in zip(images, classes, strict=True)]

  return write_tfds({"train": split(1), "test": split(12)}, name="cifar100", labels=features)


def test_cifar100_by_domain(cifar, tmp_path):
  folder = tmp_path / "runs"
  outcome = run(override(SMALL, data_dir=str(cifar)), folder)
  assert json.loads((folder / "results.json").read_text()) == outcome
  rows = {(r["setting"], r["name"]): r for r in outcome["results"]}
  assert list(rows) == [(MULTI_TASK, "single task"), (MULTI_TASK, "auto_lambda")]
  for row in rows.values():
    assert tuple(row["values"]["accuracy"]) == domains.NAMES
    accuracy = np.array(list(row["values"]["accuracy"].values()))
    assert accuracy.shape == (20, 2)  # domains, seeds
    counts = accuracy * 60 / 100  # of sixty test images
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
  # All domains take part in a look-ahead step, as in the paper's program.
  weights = np.array(list(rows[MULTI_TASK, "auto_lambda"]["values"]["last_weight"].values()))
  assert (np.abs(weights - 0.1) > 1e-5).all()
  text = (folder / "results.md").read_text()
  assert "| auto_lambda, paper | 57.6 |" in text
  history = (folder / "single_domains" / "metrics.jsonl").read_text().splitlines()
  assert np.shape(json.loads(history[0])["losses"]) == (40, 1)  # seeds by domains
  with pytest.raises(ValueError, match="networks learn all 20 domains, got"):
    run(override(SMALL, data_dir=str(cifar), tasks=("fish",)), tmp_path / "new")
  with pytest.raises(ValueError, match="pretrained is not for domains"):
    run(override(SMALL, data_dir=str(cifar), pretrained=str(cifar)), tmp_path / "new")
  assert not (tmp_path / "new").exists()


@pytest.fixture
def two_domains():
  """Six images of each of two domains; an image tells its number and its domain."""
  classes = np.tile(np.arange(10), 3)
  images = np.zeros((30, 8, 8, 3), np.uint8)
  images[..., 0] = np.arange(30)[:, None, None]
  images[..., 1] = 100 * (classes // 5)[:, None, None]
  part = data.by_domain(images, classes, classes // 5)
  return domains.of_images({"train": part, "test": part}, ("a", "b"))


def test_each_single_network_sees_its_own_domain_alone(two_domains):
  seeds, settings = domains.runs_of_one(two_domains, [3, 4])
  assert seeds == [3, 3, 4, 4]
  assert settings.tolist() == [0, 1, 0, 1]
  feed = domains.feed_one(two_domains, 4, settings)
  chunk = feed.chunk(Call(0, 3, feed.steps, False, Layout()))
  assert chunk["examples"]["image"].shape == (30, 8, 8, 3)  # one copy for all runs
  for run_rows, domain in zip(chunk["subset"]["rows"], settings, strict=True):
    own = chunk | {"subset": {"rows": run_rows}}
    plan = feed.order(jax.random.key(0), own, feed.steps)
    batch = feed.take(own, plan)
    np.testing.assert_array_equal(batch["image"][..., 1], 100 * domain)
    seen = np.asarray(batch["image"][:, :, 0, 0, 0]).ravel()
    assert len(set(seen.tolist())) == feed.steps * 4  # none twice
    # Labels belong to their images: number i is of class i modulo 5 in its domain.
    np.testing.assert_array_equal(np.asarray(batch["label"]).ravel(), seen % 5)


def test_heads_of_domains_start_as_pytorchs(two_domains):
  config = override(SMALL, tasks=two_domains.names)
  assert config.network.initializer == "torch"
  for job in plan(config, two_domains).values():
    setting = jax.tree.map(lambda values: values[0], job.settings)
    heads = jax.jit(job.problem.init)(jax.random.key(0), setting)["params"]["heads"]
    # Of OneLayer's six features.
    assert (np.abs(heads["bias"]) > 0).all()
    assert (np.abs([*heads["bias"].ravel(), *heads["kernel"].ravel()]) <= 6**-0.5).all()


def test_accuracy_counts_each_domain_by_its_own_labels(two_domains):
  images = jax.tree.map(lambda x: x[:3], two_domains.parts["test"])
  batch = images | {"valid": np.array([True, True, False])}
  logits = jax.nn.one_hot(batch["label"][:, 1], 5)
  wrong = jnp.roll(logits, 1, axis=-1)
  together = domains.all_domains(two_domains, models.create("convnet4", width=2))
  found = together.metrics["accuracy"].count({"a": wrong, "b": logits}, batch)
  other = int((wrong.argmax(-1)[:2] == batch["label"][:2, 0]).sum())
  assert jax.tree.map(int, found["a"]) == {"right": other, "count": 2}
  assert jax.tree.map(int, found["b"]) == {"right": 2, "count": 2}
  alone = domains.one_domain(two_domains, models.create("convnet4", width=2))
  outputs = {"own domain": logits, "domain": 1}
  found = alone.metrics["accuracy"].count(outputs, batch)
  assert jax.tree.map(int, found["own domain"]) == {"right": 2, "count": 2}
  # A network knows its domain, and is given that domain's images.
  variables = jax.jit(alone.init)(jax.random.key(0), jnp.int32(1))
  predict = jax.jit(alone.predict)
  given = predict(variables, images)
  assert int(given["domain"]) == 1
  blind = images | {"image": np.where(np.arange(2)[:, None, None, None] == 1, images["image"], 0)}
  np.testing.assert_array_equal(given["own domain"], predict(variables, blind)["own domain"])


def test_single_networks_of_a_seed_start_apart(two_domains):
  alone = domains.one_domain(two_domains, models.create("convnet4", width=2))
  init = jax.jit(alone.init)
  first, second = (init(jax.random.key(0), jnp.int32(i)) for i in range(2))
  kernels = [jax.tree.leaves(v["params"]["backbone"]) for v in (first, second)]
  assert any(np.any(a != b) for a, b in zip(*kernels, strict=True))

  class Update:
    @staticmethod
    def init(params, key, model_state):
      return key

  start = domains.start_one(two_domains)
  keys = [start(Update, jax.random.key(0), v) for v in (first, second)]
  assert np.any(jax.random.key_data(keys[0]) != jax.random.key_data(keys[1]))


def test_the_papers_network():
  config = PRESETS["cifar100"]
  net = models.multi_domain(config.network.build(final_pool=False), 20, 5)
  variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((32, 32, 3)))
  params = variables["params"]
  assert params["heads"]["kernel"].shape == (20, 512, 5)
  assert params["norms"]["norm4_2"]["scale"].shape == (20, 512)
  assert len(params["norms"]) == len(params["backbone"]) == 13
  assert all(set(layer) == {"kernel"} for layer in params["backbone"].values())
  images = jnp.zeros((4, 2, 32, 32, 3))
  logits, _ = jax.eval_shape(lambda v: net.apply(v, images, True, jnp.arange(4)), variables)
  assert logits.shape == (4, 2, 5)


def test_attributes_of_celeba(write_tfds, tmp_path):
  rng = np.random.default_rng(1)
  names = [f"Attribute{i:02d}" for i in range(2)]

  def split(count):
    return [
      (
        rng.integers(0, 256, (10, 9, 3), dtype=np.uint8),
        {"attributes": {name: bool(rng.integers(2)) for name in names}},
      )
      for _ in range(count)
    ]

  splits = {"train": split(8), "validation": split(4), "test": split(60)}
  folder = write_tfds(
    splits, name="celeb_a", shape=(10, 9, 3), labels={"attributes": dict.fromkeys(names, bool)}
  )
  config = override(
    PRESETS["celeba"],
    data_dir=str(folder),
    image_size=8,
    backbone="convnet4",
    width=2,
    dropout=0.0,
    epochs=1,
    batch_size=4,
    seeds=1,
    tasks=tuple(names[:1]),
    methods=("equal",),
  )
  outcome = run(config, tmp_path / "runs")
  single, equal = outcome["results"]
  for row in (single, equal):
    assert list(row["values"]["accuracy"]) == names[:1]
  assert "CelebA, 1 attribute(s)" in (tmp_path / "runs" / "results.md").read_text()


def test_the_celeba_preset_is_the_recipe_of_strong_regularisation():
  config = PRESETS["celeba"]
  assert len(config.methods) == 10
  assert config.network.build().dropout == 0.5
  optimizer = recipe_of(config.training, config.step).optimizer(2 * config.training.epochs)
  theirs = optax.chain(optax.add_decayed_weights(1e-3), optax.scale_by_adam())
  parameter, moved = jnp.ones(()), jnp.ones(())
  state, moments = optimizer.init(parameter), theirs.init(parameter)
  for step in range(6):
    update, state = optimizer.update(jnp.cos(parameter), state, parameter)
    direction, moments = theirs.update(jnp.cos(moved), moments, moved)
    parameter += update
    moved -= 1e-3 * 0.95 ** (step // 2) * direction  # two steps an epoch
    np.testing.assert_allclose(parameter, moved, rtol=1e-6)


def test_an_optimiser_that_cannot_be_is_named():
  for option, value, words in (
    ("decay", 1.5, r"decay must be in \(0, 1\], or None for a cosine, got 1.5"),
    ("momentum", 1.0, r"momentum must be in \[0, 1\), got 1.0"),
    ("weight_decay", -1.0, "weight_decay must be 0 or a positive number, got -1.0"),
  ):
    with pytest.raises(ValueError, match=words):
      override(PRESETS["celeba"], **{option: value}).check()
