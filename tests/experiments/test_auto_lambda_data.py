"""CIFAR-100's domains and CelebA's attributes, on small folders in the form of TFDS."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import domains
from experiments.auto_lambda import MULTI_TASK, PRESETS, run
from experiments.methods import Method
from jaxmtl import data, models

SMALL = dataclasses.replace(
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
  config = dataclasses.replace(SMALL, data_dir=str(cifar))
  outcome = run(config, tmp_path / "runs")
  folder = tmp_path / "runs"
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  rows = {(r["setting"], r["method"]): r for r in outcome["results"]}
  assert list(rows) == [(MULTI_TASK, "single task"), (MULTI_TASK, "auto_lambda")]
  for row in rows.values():
    assert tuple(row["test_accuracy"]) == domains.NAMES
    accuracy = np.array(list(row["test_accuracy"].values()))
    assert accuracy.shape == (20, 2)  # domains, seeds
    counts = accuracy * 60 / 100  # of sixty test images
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
  # One step an epoch of two: only the sampled tasks' weights moved, each by the learning rate.
  weights = np.array(list(rows[MULTI_TASK, "auto_lambda"]["last_weights"].values()))
  moved = np.abs(weights - 0.1) > 1e-5
  assert np.all((moved.sum(0) >= 4) & (moved.sum(0) <= 8))
  text = (folder / "results.md").read_text()
  assert "| auto_lambda, paper | 57.6 |" in text
  history = (folder / "single_tasks" / "metrics.jsonl").read_text().splitlines()
  assert np.shape(json.loads(history[0])["losses"]) == (2, 20)


def test_networks_learn_all_domains():
  rng = np.random.default_rng(0)
  images, classes = images_of(rng, 2, domains=2)
  part = data.by_domain(images, classes, classes // 5)
  parts = domains.DomainSplits(part, None, part, {"a": 5, "b": 5})
  with pytest.raises(ValueError, match="networks learn all 2 domains"):
    domains.DomainTrainer(SMALL, parts, None).train("one", Method(), ("a",))


def test_the_papers_network():
  config = PRESETS["cifar100"]
  net = models.multi_domain(config.build_backbone(final_pool=False), 20, 5)
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
  config = dataclasses.replace(
    PRESETS["celeba"],
    data_dir=str(folder),
    image_size=8,
    backbone="convnet4",
    width=2,
    epochs=1,
    batch_size=4,
    seeds=1,
    tasks=tuple(names[:1]),
    methods=("equal",),
    auxiliary_methods=(),
  )
  outcome = run(config, tmp_path / "runs")
  single, equal = outcome["results"]
  assert list(single["test_accuracy"]) == list(equal["test_accuracy"]) == names[:1]
  assert "CelebA, 1 attribute(s)" in (tmp_path / "runs" / "results.md").read_text()
