"""The runner with several phases an epoch, on a mesh, and with arrays made when needed."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments.runner.feeds import DeviceFeed
from experiments.runner.job import Job, Phase, Problem, Recipe
from experiments.runner.mesh import Layout
from experiments.runner.run import Runner
from jaxmtl import training


class Clock(NamedTuple):
  key: jax.Array
  step: jax.Array


class Two(NamedTuple):
  first: Clock
  second: Clock
  total: jax.Array


def add(name):
  """Adds a batch's mean, and counts on the phase's own clock."""

  def update(state, batch):
    clock = getattr(state, name)
    total = state.total + batch["x"].mean() + batch["own"].mean()
    metrics = {f"{name}_step": clock.step.astype(float), "total": total}
    return state._replace(**{name: clock._replace(step=clock.step + 1)}, total=total), metrics

  return Phase(update, lambda state: getattr(state, name))


def after_epoch(state, measured):
  total, place = jnp.zeros_like(state.total), state.total.sharding
  if isinstance(place, NamedSharding):
    # Compiled functions may return it anywhere; the runner puts it where the next call expects it.
    total = jax.device_put(total, NamedSharding(place.mesh, PartitionSpec()))
  return state._replace(total=total), {"sum": state.total}


def job(own, epochs=2, x=None):
  problem = Problem(("x",), lambda key, setting: {}, None, lambda key, batch: batch, None, {})
  return Job(
    name="two",
    problem=problem._replace(init=lambda key, setting: {"zero": jnp.zeros(())}),
    update=(add("first"), add("second")),
    feed=DeviceFeed({"x": np.ones(8) if x is None else x}, 4, own=own),
    recipe=Recipe(None, epochs, open_ended=True),
    identity={},
    seeds=(0, 1),
    start=lambda update, key, variables: Two(
      Clock(key, jnp.int32(0)), Clock(jax.random.fold_in(key, 1), jnp.int32(0)), variables["zero"]
    ),
    after_epoch=after_epoch,
    variables=lambda state: {"total": state.total},
  )


def own():
  return {"own": np.stack([np.zeros(8), np.ones(8)])}


@pytest.mark.parametrize("mesh", [None, "2x4"])
def test_phases_count_for_themselves(mesh, tmp_path):
  runner = Runner(tmp_path, layout=Layout.parse(mesh), log_every="2 steps")
  outcome = runner.run(job(own))
  rows = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").open()]
  assert [row["epoch"] for row in rows] == [0.5, 1, 1.5, 2]
  assert [row.get("first_step") for row in rows] == [[0.5, 0.5], None, [2.5, 2.5], None]
  assert [row.get("second_step") for row in rows] == [None, [0.5, 0.5], None, [2.5, 2.5]]
  # Four steps an epoch, of 1 and of 2; it begins anew after each.
  assert [row["sum"] for row in rows if "sum" in row] == [[4, 8], [4, 8]]
  seconds = [rows[i]["seconds"] + rows[i + 1]["seconds"] for i in (0, 2)]
  assert outcome.ms_per_step == pytest.approx(1000 * np.median(seconds) / 2)


def test_a_kill_within_a_phase_and_calls_of_another_length_change_nothing(
  tmp_path, capsys, monkeypatch
):
  different = np.random.default_rng(0).normal(size=8)
  rows = Runner(tmp_path / "whole").run(job(own, x=different)).history
  assert [row["step"] for row in rows] == [4, 8]  # both phases' numbers in one row
  assert [np.shape(rows[0][name]) for name in ("first_step", "second_step")] == [(2,), (2,)]
  save = training.Checkpointer.save

  def save_and_die(self, step, state):
    save(self, step, state)
    if step == 5:  # the first of the second epoch's first phase
      self.wait()
      raise KeyError("killed")

  with monkeypatch.context() as patch:
    patch.setattr(training.Checkpointer, "save", save_and_die)
    with pytest.raises(KeyError, match="killed"):
      Runner(tmp_path / "cut", checkpoint_every="1 steps", log_every="1 steps").run(
        job(own, x=different)
      )
  found = Runner(tmp_path / "cut").run(job(own, x=different)).history
  assert "two: goes on after epoch 1.25 of 2" in capsys.readouterr().out
  assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 8]
  assert ["first_step" in row for row in found] == [True, True, False, False, True, True]
  assert ["second_step" in row for row in found] == [False, False, True, True, False, True]
  assert [found[3]["sum"], found[5]["sum"]] == [row["sum"] for row in rows]
  assert found[5]["second_step"] == rows[1]["second_step"] == [2.5, 2.5]


def test_own_arrays_are_made_only_to_be_trained_on(tmp_path):
  runner = Runner(tmp_path)
  runner.run(job(own))

  def never():
    raise AssertionError("nothing is to be trained")

  assert len(Runner(tmp_path).run(job(never)).history) == 2
  with pytest.raises(AssertionError, match="nothing is to be trained"):
    Runner(tmp_path).run(job(never, epochs=3))
