"""The runner: outcomes found by what they depend on, going on to the bit, cadences, phases."""

import dataclasses
import json
import math
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.runner import store
from experiments.runner.calls import call_length
from experiments.runner.feeds import DeviceFeed, DomainFeed, Zip
from experiments.runner.fingerprint import fingerprint
from experiments.runner.host_feed import HostFeed, Rows
from experiments.runner.job import Selection
from experiments.runner.measure import accuracy, most_likely
from experiments.runner.run import Runner
from jaxmtl import training
from jaxmtl.training import lock


def rows_of(folder):
  rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
  assert rows_of(a.folder) == rows_of(b.folder)
  jax.tree.map(np.testing.assert_array_equal, a.values, b.values)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, job):
  """The plain job's outcome, of a folder to be copied before it is changed."""
  return Runner(tmp_path_factory.mktemp("trained")).run(job())


@pytest.fixture
def copied(trained, tmp_path):
  """A folder of one's own where the plain job is trained already."""
  return shutil.copytree(trained.folder.parent, tmp_path / "copied")


def test_an_outcome_has_what_it_promises(trained, job):
  outcome = trained
  assert outcome.failure is None
  assert outcome.values["mse"]["up"].shape == (2,)
  assert outcome.curve("losses").shape == (2, 3, 2)  # runs, rows, tasks
  assert outcome.curve("validation", "mse", "down").shape == (2, 3)
  assert outcome.by_task("losses")["down"].shape == (2, 3)
  assert outcome.epochs.tolist() == [1, 2, 3]
  assert outcome.curve("nothing").size == 0
  falls = outcome.curve("losses").sum(-1)
  assert (falls[:, -1] < falls[:, 0]).all()
  assert outcome.variables["params"]["w"].shape == (2, 2, 3)
  assert 60 * outcome.minutes > outcome.compile_seconds > 0
  # The test part is measured with the last weights, each run with its own.
  x, up = (np.asarray(job().parts["test"][n]) for n in ("x", "up"))
  found = np.einsum("nx,rx->rn", x, outcome.variables["params"]["w"][:, 0])
  np.testing.assert_allclose(outcome.values["mse"]["up"], ((found - up) ** 2).mean(1), rtol=1e-5)


def test_what_is_on_disk_is_read_and_nothing_is_compiled(trained, job, monkeypatch):
  monkeypatch.setattr(jax, "jit", None)  # compiling would fail
  again = Runner(trained.folder.parent).run(job())
  same(trained, again)
  assert again.ms_per_step == trained.ms_per_step


def test_another_configuration_gets_its_own_folder(copied, job, capsys):
  runner = Runner(copied)
  first = runner.run(job())
  before = (first.folder / "outcome.json").read_bytes()
  other = runner.run(job(rate=0.1))
  assert other.folder != first.folder
  assert "rate=0.05 instead of 0.1" in capsys.readouterr().out
  assert (first.folder / "outcome.json").read_bytes() == before
  # Both are found again.
  assert runner.run(job()).folder == first.folder
  assert runner.run(job(rate=0.1)).folder == other.folder
  assert runner.run(job(seeds=(0, 1, 2))).folder not in (first.folder, other.folder)


def test_after_a_kill_it_goes_on_to_the_bit(tmp_path, job, capsys):
  options = {"method": "dwa+pcgrad", "epochs": 4}  # with a history and draws
  runner = Runner(tmp_path)
  whole = runner.run(job("whole", **options))
  runner.run(job(**options), until=3)
  # As if killed after two epochs: the third's checkpoint and the outcome are not there.
  (tmp_path / "line" / "outcome.json").unlink()
  again = Runner(tmp_path).run(job(**options))
  assert "line: goes on after epoch 3 of 4" in capsys.readouterr().out
  same(whole, again)


def test_calls_of_any_length_and_stops_within_an_epoch_change_nothing(tmp_path, job):
  method = "auto_lambda"  # of two batches a step
  whole = Runner(tmp_path / "whole").run(job(method=method))
  # Calls of three steps, a checkpoint within the second epoch, and going on from it in longer ones.
  home = tmp_path / "cut" / "line"
  runner = Runner(tmp_path / "cut", checkpoint_every="4 steps", log_every="3 steps")
  save = training.Checkpointer.save

  def save_and_die(self, step, state):
    save(self, step, state)
    self.wait()
    if step == 9:  # the first call that ends behind the eighth
      raise KeyError("killed")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training.Checkpointer, "save", save_and_die)
    with pytest.raises(KeyError, match="killed"):
      runner.run(job(method=method))
  assert not (home / "outcome.json").exists()
  assert [row["step"] for row in rows_of(home)] == [3, 6, 9]
  again = Runner(tmp_path / "cut").run(job(method=method))
  assert [row["step"] for row in rows_of(home)] == [3, 6, 9, 12, 18]
  jax.tree.map(np.testing.assert_array_equal, whole.variables, again.variables)


def test_training_longer_goes_on_where_the_schedule_allows(tmp_path, job, capsys):
  runner = Runner(tmp_path)
  short = runner.run(job(open_ended=True))
  longer = runner.run(job(open_ended=True, epochs=5))
  assert "goes on after epoch 3 of 5" in capsys.readouterr().out
  assert longer.folder == short.folder
  same(longer, runner.run(job("whole", open_ended=True, epochs=5)))
  # The shorter one is gone, and is not what it was asked for; where it matters, it is anew.
  assert runner.run(job(open_ended=True)).folder != longer.folder
  fixed = runner.run(job("fixed"))
  assert runner.run(job("fixed", epochs=5)).folder != fixed.folder


def test_settings_and_seeds_are_runs(tmp_path, job):
  outcome = Runner(tmp_path).run(
    job(seeds=(0, 1, 0, 1), settings=jnp.array([1.0, 1.0, 0.0, 0.0]), epochs=1, rate=1e-9)
  )
  w = outcome.variables["params"]["w"]
  np.testing.assert_allclose(w[2:], 0, atol=1e-6)
  assert not np.allclose(w[0], w[1])


def test_first_weights_come_from_another_job_or_anywhere(tmp_path, job):
  runner = Runner(tmp_path)
  taught = runner.run(job("teacher"))
  student = runner.run(job("student", rate=1e-9, epochs=1, weights=lambda _: taught.variables))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), student.variables, taught.variables
  )


def test_after_each_epoch_the_state_may_change(trained, tmp_path, job):
  def after_epoch(state, measured):
    assert measured["validation"]["mse"]["up"].shape == (2,)
    halved = jax.tree.map(lambda w: w / 2, state.params)
    return state.replace(params=halved), {"halved": np.asarray(state.step, float)}

  outcome = Runner(tmp_path).run(job(after_epoch=after_epoch))
  assert outcome.curve("halved").tolist() == [[6, 12, 18]] * 2
  halved, plain = (np.abs(o.variables["params"]["w"]).sum() for o in (outcome, trained))
  assert halved < plain


def test_the_best_epoch_of_each_run_is_measured_and_kept(tmp_path, job, capsys):
  """As if a network got worse from some epoch on, the second run's later than the first's."""
  best = [6, 12]

  def score(row):
    assert row["validation"]["mse"]["up"].shape == (2,)
    return -abs(row["step"] - np.array(best))

  runner, by_epoch = Runner(tmp_path / "every"), {}
  for epochs in (1, 2):
    one = runner.run(job(epochs=6), until=epochs)
    by_epoch[epochs] = one.variables["params"]["w"]
  every = runner.run(job(epochs=6))
  chosen = Runner(tmp_path / "best").run(job(epochs=6, selection=Selection(score, 2)))
  assert [row["epoch"] for row in chosen.history] == [1, 2, 3, 4]  # two more than the last's best
  kept = chosen.variables["params"]["w"]
  np.testing.assert_array_equal(kept[0], by_epoch[1][0])
  np.testing.assert_array_equal(kept[1], by_epoch[2][1])
  assert "line: best on the validation part after step [6, 12]" in capsys.readouterr().out
  x, up = (np.asarray(job().parts["test"][n]) for n in ("x", "up"))
  found = np.einsum("nx,rx->rn", x, kept[:, 0])
  np.testing.assert_allclose(chosen.values["mse"]["up"], ((found - up) ** 2).mean(1), rtol=1e-5)
  assert not np.allclose(chosen.values["mse"]["up"], every.values["mse"]["up"])
  for options, parts in (({"evaluate_every": "2"}, job().parts), ({}, {})):
    with pytest.raises(ValueError, match="line: the best epoch is chosen on a validation part"):
      Runner(tmp_path / "no", **options).run(job(selection=Selection(score, 2), parts=parts))


def test_a_run_that_diverges_is_an_outcome_unless_it_is_required(tmp_path, job, capsys):
  runner = Runner(tmp_path)
  outcome = runner.run(job(rate=1e30))
  assert (
    "is not finite" in outcome.failure or "is nan" in outcome.failure or "inf" in outcome.failure
  )
  assert "line diverged" in capsys.readouterr().out
  assert runner.run(job(rate=1e30)).failure == outcome.failure  # and is not trained again
  with pytest.raises(ValueError, match="line diverged: "):
    runner.run(job(rate=1e30), required=True)


def test_a_stop_saves_and_the_same_job_goes_on(tmp_path, job, capsys):
  runner = Runner(tmp_path / "stopped", checkpoint_every=100)
  whole = runner.run(job("whole", epochs=6))

  def ask(state, measured):
    if int(state.step[0]) == 12:
      signal.raise_signal(signal.SIGTERM)
    return state, {}

  with training.stop_on_signal():
    with pytest.raises(training.Stopped, match=r"line was stopped after step 12 \(epoch 2 of 6\)"):
      runner.run(job(epochs=6, after_epoch=ask))
    assert training.stop_requested() == signal.SIGTERM
    # Asked between two trainings, such as while figures are drawn, the next one is not compiled.
    with pytest.raises(training.Stopped, match=r"Stopped before other was trained\."):
      runner.run(job("other"))
    assert not (tmp_path / "stopped" / "other").exists()
  again = Runner(tmp_path / "stopped").run(job(epochs=6))
  assert "goes on after epoch 2 of 6" in capsys.readouterr().out
  same(whole, again)


def test_reports_between_short_trainings_are_left_out(tmp_path, job, monkeypatch):
  seen = []

  def report(found):
    time.sleep(1e-3)  # no report takes no time
    seen.append(len(found))

  runner = Runner(tmp_path)
  for share, times in ((math.inf, 2), (0.0, 1)):
    monkeypatch.setattr("experiments.runner.run.REPORT_SHARE", share)
    jobs = [job(f"{name}{times}", epochs=1) for name in "abc"]
    runner.run_all(jobs, after_each=report)
    assert seen == [1, 2][:times]
    seen.clear()


def test_the_plan_is_announced_and_tables_may_be_written_on_the_way(tmp_path, job, capsys):
  runner, seen = Runner(tmp_path), []
  jobs = [job("a"), job("b"), job("c")]
  runner.run(jobs[1])
  outcomes = runner.run_all(jobs, after_each=lambda found: seen.append(list(found)))
  assert list(outcomes) == ["a", "b", "c"]
  assert seen == [["a", "b"]]  # b is there already: nothing is to be waited for behind a
  said = capsys.readouterr().out
  assert "3 training(s), 1 of them on disk already: 36 steps in all." in said
  assert "to go, if all are like a." in said
  with pytest.raises(ValueError, match="jobs must have different names"):
    runner.run_all([jobs[0], jobs[0]])


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, job):
  (tmp_path / "line").mkdir()
  (tmp_path / "line" / "thesis.txt").write_text("mine")
  outcome = Runner(tmp_path).run(job())
  assert outcome.folder.name.startswith("line-")
  assert [p.name for p in (tmp_path / "line").iterdir()] == ["thesis.txt"]


def test_a_damaged_outcome_is_named_and_made_anew_without_it(trained, copied, job):
  runner = Runner(copied)
  file = copied / "line" / "outcome.json"
  for content in ('{"name": "li', '{"name": "line"}', "[]", "null", ""):
    file.write_text(content)
    with pytest.raises(
      ValueError, match=r"outcome\.json (cannot be read|holds no outcome).*move it"
    ):
      runner.run(job())
  file.unlink()
  same(trained, runner.run(job()))


def changed(part, points):
  """Data under one name: as they were, and after a change of their file."""
  before = points() | {"kind": np.arange(24) % 3}
  after = {name: values.copy() for name, values in before.items()}
  if part == "labels":
    after["kind"][7] = 2
  else:
    after["x"][:, 0] += 0.1
  return before, after


def test_data_that_changed_are_trained_on_anew(tmp_path, job, points, capsys):
  before = changed("labels", points)[0]
  runner = Runner(tmp_path)
  first = runner.run(job(feed=DeviceFeed(before, 4)))
  homes = [first.folder]
  for part in ("labels", "numbers"):
    again, after = (DeviceFeed(data, 4) for data in changed(part, points))
    assert runner.run(job(feed=again)).folder == first.folder
    homes.append(runner.run(job(feed=after)).folder)
    assert "data_fingerprint=" in capsys.readouterr().out
  # What is measured counts too.
  parts = {"test": points(10, 3)}
  homes.append(runner.run(job(feed=DeviceFeed(before, 4), parts=parts)).folder)
  assert len(set(homes)) == len(homes)


def test_every_feed_says_what_it_is_made_of(points):
  data = changed("labels", points)[0]
  domains = {name: values.reshape(8, 3, *values.shape[1:]) for name, values in data.items()}
  feeds = {
    "device": lambda d: DeviceFeed(d, 4),
    "subset": lambda d: DeviceFeed(d, 4, subset=np.arange(8)[None]),
    "view": lambda d: DeviceFeed(d, 4).only("x", "kind"),
    "host": lambda d: HostFeed(Rows(d), 4),
    "zip": lambda d: Zip(a=DeviceFeed(d, 4), b=DeviceFeed(data, 4)),
  }
  found = {name: fingerprint(make(data).content) for name, make in feeds.items()}
  assert len(set(found.values())) == len(found)
  for name, make in feeds.items():
    assert fingerprint(make(data).content) == found[name]
    other = make({**data, "kind": (data["kind"] + 1) % 3})
    assert fingerprint(other.content) != found[name]
  assert fingerprint(DomainFeed(domains, 2).content)
  # A view knows nothing of what it leaves out.
  view = DeviceFeed({**data, "up": data["up"] + 1}, 4).only("x", "kind")
  assert fingerprint(view.content) == found["view"]


def test_outcomes_of_before_an_option_are_found(tmp_path, job, monkeypatch):
  runner = Runner(tmp_path)
  homes = [runner.run(job(rate=rate)).folder for rate in (0.05, 0.1)]
  for home in homes:  # as if neither the option nor fingerprints had been there
    saved = json.loads((home / "job.json").read_text())
    del saved["identity"]["data_fingerprint"]
    (home / "job.json").write_text(json.dumps(saved))
  later = {"extra": {"depth": 2}}
  monkeypatch.setattr(store, "LATER", later)
  monkeypatch.setattr(training, "fit", None)  # nothing is to be trained

  def of(rate, extra):
    made = job(rate=rate)
    return dataclasses.replace(made, identity={**made.identity, "extra": extra})

  for rate, home in zip((0.05, 0.1), homes, strict=True):
    assert runner.run(of(rate, {"depth": 2})).folder == home
    new, why = store.find_home(tmp_path, of(rate, {"depth": 3}))
    assert new not in homes
    assert "extra.depth=2 instead of 3" in why


def test_going_on_after_a_divergence_with_another_rate(tmp_path, job, capsys):
  """What is kept is finite, and goes on from its step as if the rate had been changed there."""

  def explode(state, measured):
    bad = jnp.where(state.step[0] >= 12, jnp.inf, 1.0)
    return jax.tree.map(lambda x: x, state).replace(
      params=jax.tree.map(lambda w: w * bad, state.params)
    ), {}

  runner = Runner(tmp_path)
  broken = runner.run(job(epochs=4, after_epoch=explode))
  assert "params/w of the state is not finite after step 12" in broken.failure
  said = capsys.readouterr().out
  assert (
    "To go on from step 6 with other options, a lower --learning-rate for example, add " in said
  )
  assert f"--restart-from {broken.folder}" in said
  again = Runner(tmp_path, restart_from=broken.folder)
  outcome = again.run_all([job(epochs=4, rate=0.01)])["line"]
  assert f"goes on from step 6 of {broken.folder}" in capsys.readouterr().out
  assert outcome.failure is None
  assert outcome.folder != broken.folder
  assert [row["step"] for row in rows_of(outcome.folder)] == [6, 12, 18, 24]
  assert json.loads((broken.folder / "outcome.json").read_text())["failure"]  # stays
  # It is found again, and is no training from the start.
  assert again.run(job(epochs=4, rate=0.01)).folder == outcome.folder
  assert runner.run(job(epochs=4, rate=0.01)).folder != outcome.folder
  again.run_all([job("other", epochs=1)])
  assert "Note: restart_from is of 'line', which is none of other." in capsys.readouterr().out
  with pytest.raises(
    FileNotFoundError, match=r"restart_from: .*nowhere' is no training with a check"
  ):
    Runner(tmp_path, restart_from=tmp_path / "nowhere")


def test_another_run_in_the_folder_is_kept_out_before_anything_is_written(tmp_path, job):
  Runner(tmp_path).run(job())
  # The module alone: importing all of jaxmtl would take most of the test's time.
  code = "import runpy, sys, time; locked = runpy.run_path(sys.argv[2])['locked']"
  code += "\nwith locked(sys.argv[1]): print('held', flush=True); time.sleep(600)"
  with subprocess.Popen(
    [sys.executable, "-c", code, str(tmp_path), lock.__file__], stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout.readline() == "held\n"
    before = sorted(tmp_path.rglob("*"))
    for run in (lambda j: Runner(tmp_path).run(j), lambda j: Runner(tmp_path).run_all([j])):
      with pytest.raises(BlockingIOError, match=f"in use by process {process.pid} on "):
        run(job("other"))
    assert sorted(tmp_path.rglob("*")) == before
    Runner(tmp_path).run_all([job()])  # what is on disk is read
    process.kill()
  Runner(tmp_path).run(job("other"))


@pytest.mark.parametrize(
  ("steps", "most", "want"), [(160, 100, 80), (389, 100, 100), (7, 100, 7), (160, 25, 20)]
)
def test_call_length(steps, most, want):
  assert call_length(steps, most) == want


def test_an_epoch_of_a_prime_number_of_steps_ends_with_a_shorter_call(tmp_path, job, monkeypatch):
  feed = job().feed
  monkeypatch.setattr(type(feed), "most", 4)
  cut = Runner(tmp_path / "cut").run(job(batch_size=3, feed=None, epochs=2))  # 8 steps: 4 and 4
  monkeypatch.undo()
  whole = Runner(tmp_path / "whole").run(job(batch_size=3, feed=None, epochs=2))
  jax.tree.map(np.testing.assert_array_equal, whole.variables, cut.variables)


def test_numbers_that_are_not_finite_become_null():
  plain = store.plain({"a": np.array([1.0, np.nan]), 2: (np.float32(0.5),), "b": None})
  assert plain == {"a": [1.0, None], "2": [0.5], "b": None}


def test_an_answer_that_is_nan_is_wrong():
  logits = jnp.array([[1.0, 2.0, -jnp.inf], [jnp.nan] * 3, [0.0, jnp.nan, 1.0], [3.0, 0.0, 0.0]])
  assert most_likely(logits).tolist() == [1, -1, -1, 0]
  batch = {"kind": jnp.array([1, 0, 2, -1]), "valid": jnp.ones(4, bool)}
  sums = accuracy(["kind"]).count({"kind": logits}, batch)["kind"]
  assert {name: int(value) for name, value in sums.items()} == {"right": 1, "count": 3}


def test_jobs_that_share_a_program_learn_their_own(tmp_path, job):
  """One program for both tasks' networks, with each task's labels, and never the other's."""
  whole = job().feed
  problem = job().problem

  def alone(task):
    def losses_fn(params, model_state, batch, key):
      del key
      error = jnp.mean((batch["x"] @ params["w"][0] - batch[task]) ** 2)
      return error[None], training.Aux(model_state)

    return problem._replace(
      tasks=(task,), losses_fn=losses_fn, prepare=lambda key, batch: batch, metrics={}
    )

  def jobs(feed):
    return [job(t, problem=alone(t), feed=feed(t), parts={}) for t in ("up", "down")]

  alone_again = {}
  for one in jobs(lambda t: whole):
    outcome = Runner(tmp_path / one.name).run(one)
    alone_again[one.name] = outcome.variables["params"]["w"][:, 0]
  compiled = []
  with pytest.MonkeyPatch.context() as patch:
    compile = jax.stages.Lowered.compile
    patch.setattr(jax.stages.Lowered, "compile", lambda s, *a: compiled.append(s) or compile(s, *a))
    for name, feed, programs in (
      ("all", lambda t: whole, 4),
      ("own", lambda t: whole.only("x", t), 3),
    ):
      compiled.clear()
      found = Runner(tmp_path / name).run_all(jobs(feed))
      assert len(compiled) == programs  # first parameters, states, and steps once or twice
      up, down = (found[t].variables["params"]["w"][:, 0] for t in ("up", "down"))
      assert not np.allclose(up, down)
      for t, w in (("up", up), ("down", down)):
        np.testing.assert_array_equal(alone_again[t], w)
