"""A problem of two numbers that trains in no time, for tests of the runner."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.runner.feeds import DeviceFeed
from experiments.runner.job import Job, Problem, Recipe
from experiments.runner.methods import Method, update_of
from jaxmtl import training

TASKS = ("up", "down")


def line_problem():
  """Two lines through the same points, with noise from the step's key."""

  def init(key, setting):
    scale = 1.0 if setting is None else setting
    return {"params": {"w": scale * jax.random.normal(key, (2, 3))}}

  def outputs(params, x):
    return {t: x @ params["w"][i] for i, t in enumerate(TASKS)}

  def losses_fn(params, model_state, batch, key):
    noise = 1e-3 * jax.random.normal(key, ())
    found = outputs(params, batch["x"])
    errors = [jnp.mean((found[t] - batch[t]) ** 2) + noise * params["w"].sum() for t in TASKS]
    return jnp.stack(errors), training.Aux(model_state)

  def predict(variables, batch):
    return outputs(variables["params"], batch["x"])

  def count(found, batch):
    valid = batch["valid"]
    return {
      t: {"sum": jnp.where(valid, (found[t] - batch[t]) ** 2, 0).sum(), "count": valid.sum()}
      for t in TASKS
    }

  mse = training.Metric(count, lambda s: s["sum"] / s["count"], lower_is_better=True)
  return Problem(
    TASKS,
    init,
    losses_fn,
    prepare=lambda key, batch: batch | {"x": batch["x"] + 1e-3 * jax.random.normal(key, ())},
    predict=predict,
    metrics={"mse": mse},
    shared=lambda params: jax.tree.map(lambda _: True, params),
  )


def line_data(count=24, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(count, 3)).astype(np.float32)
  return {"x": x, "up": x @ np.float32([1, 2, 3]), "down": x @ np.float32([-1, 0, 1])}


def line_job(name="line", method="equal", epochs=3, batch_size=4, rate=0.05, **options):
  """A job of it; what is not told is as small as can be."""
  problem = options.pop("problem", None) or line_problem()
  optimizer = options.pop("optimizer", optax.adam)
  recipe = Recipe(
    lambda steps: optimizer(rate), epochs, open_ended=options.pop("open_ended", False)
  )
  feed = options.pop("feed", None) or DeviceFeed(line_data(), batch_size)
  method = Method.parse(method)
  return Job(
    **{
      "name": name,
      "problem": problem,
      "update": update_of(method, problem, recipe, feed.steps),
      "feed": feed,
      "recipe": recipe,
      "identity": {"rate": rate, **method.identity},
      "parts": {"validation": line_data(10, 1), "test": line_data(10, 2)},
      "seeds": (0, 1),
      **options,
    }
  )


@pytest.fixture(scope="session")
def job():
  return line_job


@pytest.fixture
def points():
  return line_data
