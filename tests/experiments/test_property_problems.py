"""Images with a class and a property: targets, errors, plateaus, and the networks of the grid."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.fastcar import config as fastcar
from experiments.problems import properties
from experiments.problems.property_options import StepOptions, observer, recipe_of
from experiments.problems.property_tables import minutes
from experiments.runner.config import RunOptions, TrainingOptions
from experiments.runner.mesh import Layout
from jaxmtl import data, training
from jaxmtl.labels import FastCAR


def test_errors_by_hand():
  part = data.PropertyImages(
    np.zeros((4, 2, 2, 1), np.uint8), np.arange(4), np.array([100.0, 100.0, 200.0, 400.0])
  )
  found = properties.errors_of(part, [0, 1, 2, 0], [108.0, 109.0, 200.0, 300.0])
  wanted = {
    "accuracy": {"class": 75},
    "mse": {"value": (64 + 81 + 1e4) / 4},
    "mae": {"value": 29.25},
    "mape": {"value": 10.5},
    "near": {"value": 50},
  }
  assert found.keys() == wanted.keys()
  for name, by_task in wanted.items():
    assert found[name] == pytest.approx(by_task), name


def test_errors_add_over_batches_and_padding_adds_nothing():
  part = data.digits_ink().test.subset(slice(0, 7))
  said = np.arange(7) % 3, part.values * np.linspace(0.9, 1.1, 7, dtype=np.float32)
  targets = properties.pair_targets(10, 100.0, 50.0)
  examples = properties.measured_of(part, targets) | {"classes": said[0], "values": said[1]}

  def predict(offset, batch):
    outputs = {"class": jax.nn.one_hot(batch["classes"], 10), "value": batch["values"][:, None]}
    return properties.Predicted(batch["classes"] + offset, batch["values"], outputs)

  problem = properties.property_problem(data.digits_ink(), targets, nn.Dense(1))
  evaluate = training.evaluator(predict, problem.metrics, batch_size=3)
  found = evaluate(0, examples)
  for name, by_task in properties.errors_of(part, *said).items():
    assert found[name] == pytest.approx(by_task, rel=1e-5), name
  outputs = {"class": jax.nn.one_hot(said[0], 10), "value": jnp.asarray(said[1])[:, None]}
  losses = targets.losses(outputs, targets.encode(part.classes, part.values))
  assert list(found["loss"].values()) == pytest.approx(losses.tolist(), rel=1e-5)


def test_targets_decode_what_they_encode():
  values, classes = np.array([10.0, 12.0, 11.0, 300.0]), np.array([0, 0, 1, 2])
  hybrid = properties.hybrid_targets(FastCAR.fit(values, classes))
  perfect = {"hybrid": hybrid.encode(classes, values)["hybrid"][:, None]}
  assert hybrid.losses(perfect, hybrid.encode(classes, values)).tolist() == [0]
  pair = properties.pair_targets(3, 100.0, 50.0)
  wanted = pair.encode(classes, values)
  outputs = {"class": 99.0 * jax.nn.one_hot(classes, 3), "value": wanted["value"][:, None]}
  np.testing.assert_allclose(pair.losses(outputs, wanted), [0, 0], atol=1e-6)
  for targets, said in ((hybrid, perfect), (pair, outputs)):
    found = targets.decode(said)
    np.testing.assert_array_equal(found[0], classes)
    np.testing.assert_allclose(found[1], values, rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class State:
  optimizer: tuple


def test_a_plateau_lowers_the_learning_rate_of_its_own_run_and_a_step_does_not():
  schedule = StepOptions(patience=2, weight_decay=0.0)
  recipe = recipe_of(TrainingOptions(learning_rate=1.0), schedule, 1)
  assert recipe.open_ended
  optimizer, observe = recipe.optimizer(100), observer(schedule, Layout())
  params = jnp.zeros(2)  # of two runs
  state = jax.vmap(optimizer.init)(params)
  sizes = []
  # PyTorch's patience: two epochs without gain are borne, the third one is too many.
  for losses in ((5.0, 5.0), (4.0, 4.0), (4.0, 3.0), (4.0, 2.0), (4.0, 1.0), (3.0, 0.5)):
    for _ in range(2):
      update, state = jax.vmap(optimizer.update)(jnp.ones(2), state, params)
    sizes.append(np.round(-update, 3).tolist())
    # The loss is the sum of both tasks'.
    by_task = {"class": np.array(losses) / 4, "value": np.array(losses) * 0.75}
    changed, metrics = observe(State(state), {"validation": {"loss": by_task}})
    state = changed.optimizer
    assert metrics == {}
  np.testing.assert_allclose(sizes, [[1, 1]] * 5 + [[0.1, 1]], rtol=1e-6)


def test_a_plateau_must_see_every_epoch_and_a_cosine_looks_at_the_end():
  schedule = StepOptions()
  for cadence in ("1", "1 epoch"):
    schedule.check(RunOptions(evaluate_every=cadence))
  for cadence in ("2", "50 steps"):
    with pytest.raises(ValueError, match="evaluate_every must be 1 with --schedule plateau"):
      schedule.check(RunOptions(evaluate_every=cadence))
    StepOptions(schedule="cosine").check(RunOptions(evaluate_every=cadence))
  cosine = StepOptions(schedule="cosine")
  assert not recipe_of(TrainingOptions(), cosine, 1).open_ended
  assert "patience" in schedule.identity
  assert "patience" not in cosine.identity


def test_adam_has_the_decay_in_the_gradient_as_pytorchs():
  # The first step is the learning rate's size, however small the decay.
  paper = fastcar.PRESETS["paper"]
  optimizer = recipe_of(paper.training, paper.step, 1).optimizer(100)
  update, _ = optimizer.update(jnp.zeros(()), optimizer.init(jnp.ones(())), jnp.ones(()))
  assert optax.tree.norm(update) == pytest.approx(1e-3, rel=1e-3)


def test_times_of_a_few_seconds_can_be_told_apart():
  assert [minutes(m) for m in (0.04, 0.1, 16.3)] == ["0.04", "0.10", "16.3"]
