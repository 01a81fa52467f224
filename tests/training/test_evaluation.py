"""Evaluation, prediction, weights alone, best weights: what is left when training is over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxmtl import training
from jaxmtl.training.weights import read_notes


def error(outputs, batch):
  wrong = jnp.abs(outputs - batch["y"]) * batch["valid"]
  return {"y": {"sum": wrong.sum(), "count": batch["valid"].sum()}}


METRICS = {"mae": training.Metric(error, lambda s: s["sum"] / s["count"], lower_is_better=True)}


def apply(w, batch):
  return w * batch["x"]


@pytest.mark.parametrize("count", [1, 7, 8, 19])
@pytest.mark.parametrize("multiple", [1, 4])
def test_padding_and_batch_size_change_nothing(count, multiple):
  rng = np.random.default_rng(count)
  examples = {n: rng.normal(size=count).astype(np.float32) for n in "xy"}
  want = np.abs(2 * examples["x"] - examples["y"]).mean()
  for batch_size in (1, 8, 250):
    evaluate = training.evaluator(apply, METRICS, batch_size=batch_size, multiple=multiple)
    found = evaluate(2.0, examples)["mae"]["y"]
    assert found == pytest.approx(want, rel=1e-5)
    assert isinstance(found, float)


def test_runs_and_sources_that_are_read_bit_by_bit():
  class Source:
    """Examples that are made when asked for."""

    def __len__(self):
      return 5

    def __getitem__(self, i):
      return {"x": np.float32(i), "y": np.float32(0)}

  evaluate = training.evaluator(apply, METRICS, batch_size=2, runs=True)
  np.testing.assert_allclose(evaluate(jnp.array([1.0, 3.0]), Source())["mae"]["y"], [2, 6])


def test_sums_are_added_in_double_precision():
  examples = {"x": np.full(4001, 1e4, np.float32), "y": np.zeros(4001, np.float32)}
  examples["x"][-1] = 1e-2
  found = training.evaluator(apply, METRICS, batch_size=1)(1.0, examples)["mae"]["y"]
  assert found == pytest.approx((4000 * 1e4 + 1e-2) / 4001, rel=1e-12)


def test_no_example_raises():
  with pytest.raises(ValueError, match="at least one example"):
    training.evaluator(apply, METRICS)(1.0, {"x": np.zeros(0), "y": np.zeros(0)})


def test_predictions_come_in_order_without_padding():
  found = training.predict(
    lambda w, batch: {"double": w * batch["x"]}, 2.0, {"x": np.arange(7.0)}, batch_size=3
  )
  assert found["double"].tolist() == [0, 2, 4, 6, 8, 10, 12]


def test_weights_come_back_as_they_were(tmp_path):
  variables = {
    "params": {"dense": {"kernel": jnp.ones((2, 3), jnp.bfloat16)}, "b": jnp.arange(3.0)},
    "batch_stats": {},
    "count": np.int32(7),
  }
  path = tmp_path / "deep" / "w.safetensors"
  training.save_weights(path, variables, job="equal")
  found = training.load_weights(path)
  assert "batch_stats" not in found  # nothing was in it
  assert found["params"]["dense"]["kernel"].dtype == jnp.bfloat16
  assert found["count"] == 7
  jax.tree.map(np.testing.assert_array_equal, found["params"], variables["params"])
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_weights_that_cannot_be_saved_or_loaded_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"nested dicts .* got \['a/b'\]"):
    training.save_weights(tmp_path / "w", {"a/b": jnp.ones(1)})
  with pytest.raises(ValueError, match="nested dicts"):
    training.save_weights(tmp_path / "w", {"a": [jnp.ones(1)]})
  training.save_weights(tmp_path / "w", {"a": jnp.ones(100)})
  (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-50])
  with pytest.raises(ValueError, match="not a complete file of weights"):
    training.load_weights(tmp_path / "w")
  with pytest.raises(ValueError, match="not a complete file of weights"):
    read_notes(tmp_path / "w")
  with pytest.raises(FileNotFoundError):
    training.load_weights(tmp_path / "none")


def test_the_same_weights_are_the_same_file(tmp_path):
  found = set()
  for i in range(8):
    training.save_weights(tmp_path / f"{i}", {"a": jnp.ones(3)}, job="equal", step=[1, 2])
    found.add((tmp_path / f"{i}").read_bytes())
  assert len(found) == 1
  assert read_notes(tmp_path / "0") == {"job": "equal", "step": [1, 2]}
  notes = {"notes": '{"job": "old"}'}  # as it was written before there were checksums
  safetensors.numpy.save_file({"a": np.ones(2)}, tmp_path / "old", notes)
  assert read_notes(tmp_path / "old") == {"job": "old"}
  assert training.load_weights(tmp_path / "old")["a"].tolist() == [1, 1]


def test_weights_that_changed_on_disk_are_refused(tmp_path):
  path, rng = tmp_path / "w", np.random.default_rng(0)
  training.save_weights(path, {"a": {"b": jnp.ones(100), "c": jnp.arange(5)}}, job="equal")
  whole = path.read_bytes()
  for place in rng.integers(len(whole) - 420, len(whole), 20):  # the arrays are the file's end
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"w is damaged: a/[bc] is not what was saved"):
      training.load_weights(path)
  # A file of others has no checksums.
  safetensors.numpy.save_file({"a": np.ones(2)}, path)
  assert training.load_weights(path)["a"].tolist() == [1, 1]


def test_the_best_weights_are_kept_run_by_run_and_after_a_restart(tmp_path):
  scores = [[0.5, 0.1], [0.4, 0.3], [np.nan, 0.2], [0.6, 0.3]]

  def best():
    return training.BestWeights(tmp_path / "best", lambda row: row["score"], lambda s: s)

  for step, score in enumerate(scores):
    # A new object each time: what counts is in the file.
    state = {"params": {"w": jnp.full((2, 3), float(step))}, "batch_stats": {}}
    best().update(state, {"step": step, "score": score})
  kept = training.load_weights(tmp_path / "best")["params"]["w"]
  assert kept[:, 0].tolist() == [3, 1]


def test_fit_keeps_the_best(tmp_path):
  def run_epoch(state):
    return {"w": state["w"] + 1}, {"losses": np.ones((1, 1))}

  fitted = training.fit(
    {"w": jnp.zeros(())},
    run_epoch,
    5,
    evaluate=lambda state: {"accuracy": -((float(state["w"]) - 3) ** 2)},
    best=training.BestWeights(tmp_path / "b", lambda row: row["accuracy"], lambda s: s),
    progress=False,
  )
  assert float(fitted.state["w"]) == 5
  assert float(training.load_weights(tmp_path / "b")["w"]) == 3
  assert [row["accuracy"] for row in fitted.history] == [-4, -1, 0, -1, -4]


@pytest.mark.parametrize("killed", [False, True])
def test_fit_ends_where_nothing_gets_better(tmp_path, killed):
  def run_epoch(state):
    if killed and state["w"] == 4:
      raise KeyboardInterrupt
    return {"w": state["w"] + 1}, {"losses": np.ones((2, 1))}

  def train(run_epoch, first=0, state=None):
    return training.fit(
      state or {"w": jnp.zeros(())},
      run_epoch,
      20,
      steps_per_epoch=2,
      first_step=first,
      evaluate=lambda state: {"accuracy": -((float(state["w"]) - 3) ** 2)},
      best=training.BestWeights(tmp_path / "b", lambda row: row["accuracy"], lambda s: s),
      patience=2,
      checkpointer=saver,
      checkpoint_every=3,
      progress=False,
    )

  with training.Checkpointer(tmp_path / "c") as saver:
    if killed:
      with pytest.raises(KeyboardInterrupt):
        train(run_epoch)
      killed = False
      first, state = saver.restore({"w": jnp.zeros(())})
      assert first == 6
      train(run_epoch, first, state)
    else:
      assert float(train(run_epoch).state["w"]) == 5
    step, state = saver.restore({"w": jnp.zeros(())})
    assert (step, float(state["w"])) == (10, 5)
    assert float(training.load_weights(tmp_path / "b")["w"]) == 3
    # What has ended does not go on.
    assert train(None, step, state).state is state
  with pytest.raises(ValueError, match="patience=2 needs best"):
    training.fit({}, run_epoch, 1, patience=2)


def test_cadences():
  for every, message in ((0, "got 0"), ("often", "got 'often'"), ("3 days", "got '3 days'")):
    with pytest.raises(ValueError, match=message):
      training.in_steps(every, 10)

  rows, evaluated = [], []

  def run_call(state):
    return state + 5, {"losses": np.full((5, 1), state)}

  training.fit(
    0,
    run_call,
    4,
    steps_per_epoch=10,
    evaluate=lambda state: evaluated.append(state) or {"seen": state},
    evaluate_every=2,
    log_every="15 steps",
    progress=False,
  )
  assert evaluated == [20, 40]
  fitted = training.fit(0, run_call, 4, steps_per_epoch=10, log_every="15 steps", progress=False)
  rows = [(row["step"], row["epoch"], float(row["losses"][0])) for row in fitted.history]
  # Means over the steps since the row before.
  assert rows == [(15, 1.5, 5), (30, 3, 20), (40, 4, 32.5)]
