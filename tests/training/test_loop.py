import json
import logging
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl.training import (
  Aux,
  Checkpointer,
  MetricsWriter,
  TrainingDiverged,
  TrainState,
  check_finite,
  fit,
  locked,
  replacing,
  scan_epoch,
  train_step,
)
from jaxmtl.training.board import Board
from jaxmtl.training.loop import check_state
from jaxmtl.training.writer import read_rows


def losses_fn(params, model_state, batch, key):
  noise = jax.random.normal(key, params.shape)
  return jnp.stack(
    [
      jnp.mean((params - batch.mean(0)) ** 2),
      jnp.mean((params + 0.1 * noise) ** 2),
    ]
  ), Aux()


def make(learning_rate=0.05):
  step = train_step(
    losses_fn,
    optax.adam(learning_rate),
    2,
    weighting=jaxmtl.rlw(2),
    aggregator=jaxmtl.pcgrad(2),
  )
  epoch = jax.jit(scan_epoch(step.update, batch_size=4))
  data = jax.random.normal(jax.random.key(5), (32, 3))
  return step.init(jnp.ones(3), jax.random.key(1)), lambda state: epoch(state, data)


def leaves(state):
  unkeyed = jax.tree.map(
    lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state
  )
  return [np.asarray(leaf) for leaf in jax.tree.leaves(unkeyed)]


def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path):
  state, run_epoch = make()
  whole = fit(state, run_epoch, 6, progress=False).state
  with Checkpointer(tmp_path / "c") as saver, MetricsWriter(tmp_path) as writer:
    fit(state, run_epoch, 4, writer=writer, checkpointer=saver, progress=False)
  (tmp_path / "c" / "32").rename(tmp_path / "gone")  # as if killed after the third epoch's save
  with Checkpointer(tmp_path / "c") as saver:
    first, state = saver.restore(state)
    assert first == 24  # steps
    with MetricsWriter(tmp_path, resume_from=first) as writer:
      again, history = fit(
        state, run_epoch, 6, first_step=first, writer=writer, checkpointer=saver, progress=False
      )
      assert history is writer.rows
      assert [row["epoch"] for row in writer.rows] == [1, 2, 3, 4, 5, 6]
  for a, b in zip(leaves(whole), leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)
  # Nothing written was lost: the row of the epoch that was run again is kept beside.
  assert len(read_rows(tmp_path / "metrics.jsonl.before_resume")) == 4


SCRIPT = """
import sys
sys.path[:0] = {path!r}
import time
from test_loop import make
from jaxmtl.training import Checkpointer, MetricsWriter, fit
state, run_epoch = make()
def slowly(state):
  time.sleep(0.05)
  return run_epoch(state)
with Checkpointer(sys.argv[1] + "/c") as saver, MetricsWriter(sys.argv[1]) as writer:
  fit(state, slowly, 20, checkpointer=saver, writer=writer)
"""


def test_a_killed_process_goes_on_bit_for_bit(tmp_path):
  script = tmp_path / "script.py"
  here = pathlib.Path(__file__).parent
  script.write_text(textwrap.dedent(SCRIPT.format(path=[str(here), str(here.parents[1])])))
  command = [sys.executable, str(script), str(tmp_path)]
  log = tmp_path / "metrics.jsonl"
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
    waited = time.monotonic()
    rows = 3 + int.from_bytes(os.urandom(1), "big") % 8  # a random moment
    while len(read_rows(log)) < rows and time.monotonic() - waited < 120:
      time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
  state, run_epoch = make()
  with Checkpointer(tmp_path / "c") as saver:
    first, restored = saver.restore(state)
    assert 0 < first < 20 * 8
    with MetricsWriter(tmp_path, resume_from=first) as writer:
      again, _ = fit(
        *(restored, run_epoch, 20),
        **{"first_step": first, "checkpointer": saver, "writer": writer, "progress": False},
      )
  whole = fit(state, run_epoch, 20, progress=False).state
  for a, b in zip(leaves(whole), leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)
  assert [row["epoch"] for row in read_rows(log)] == list(range(1, 21))


def corrupt(folder):
  for path in folder.rglob("*"):
    if path.is_file():
      path.write_bytes(b"broken")


def test_a_corrupt_checkpoint_falls_back_and_says_so(tmp_path, caplog):
  with Checkpointer(tmp_path) as saver:
    saver.save(1, {"w": jnp.ones(2)})
    saver.save(2, {"w": jnp.full(2, 2.0)})
    saver.wait()
  corrupt(tmp_path / "2")
  with Checkpointer(tmp_path) as saver, caplog.at_level(logging.WARNING):
    step, state = saver.restore({"w": jnp.zeros(2)})
  assert (step, state["w"].tolist()) == (1, [1.0, 1.0])
  assert "checkpoint 2" in caplog.text
  assert "falling back" in caplog.text
  corrupt(tmp_path / "1")
  with Checkpointer(tmp_path) as saver, pytest.raises(RuntimeError, match="none of the checkpoint"):
    saver.restore({"w": jnp.zeros(2)})


def test_a_checkpoint_of_another_configuration_raises(tmp_path):
  with Checkpointer(tmp_path, {"lr": 0.1, "dim": 3}) as saver:
    saver.save(1, {"w": jnp.ones(2)})
  with (
    Checkpointer(tmp_path, {"lr": 0.2, "dim": 3}) as saver,
    pytest.raises(ValueError, match=r"lr: 0\.1 saved, 0\.2 asked for.*--workdir"),
  ):
    saver.restore({"w": jnp.zeros(2)})


def test_what_a_killed_process_left_goes_without_a_warning(tmp_path, caplog):
  (tmp_path / "1.orbax-checkpoint-tmp").mkdir()
  with Checkpointer(tmp_path) as saver, caplog.at_level(logging.WARNING):
    saver.save(1, {"w": jnp.ones(2)})
  assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "1"]
  assert not caplog.text


def test_no_checkpoint_gives_none(tmp_path):
  with Checkpointer(tmp_path) as saver:
    assert saver.restore({"w": jnp.zeros(2)}) is None


def test_keys_survive_a_checkpoint(tmp_path):
  with Checkpointer(tmp_path) as saver:
    saver.save(1, {"key": jax.random.key(7)})
    _, state = saver.restore({"key": jax.random.key(0)})
  assert (
    jax.random.key_data(state["key"]).tolist() == jax.random.key_data(jax.random.key(7)).tolist()
  )


def test_nan_stops_with_step_and_loss_and_keeps_the_checkpoint(tmp_path):
  def explode(params, model_state, batch, key):
    del key
    steps = model_state + 1
    bad = jnp.where(steps > 20, jnp.nan, 0.0)
    return jnp.stack([jnp.mean(params**2), jnp.mean(params**2) + bad]), Aux(steps)

  step = train_step(explode, optax.sgd(0.1), 2)
  epoch = jax.jit(scan_epoch(step.update, batch_size=4))
  state = step.init(jnp.ones(3), jax.random.key(0), jnp.array(0))
  data = jnp.ones((32, 3))
  with Checkpointer(tmp_path) as saver:
    with pytest.raises(TrainingDiverged, match=r"task 'depth' is nan at step 20"):
      fit(
        state,
        lambda s: epoch(s, data),
        5,
        checkpointer=saver,
        task_names=["class", "depth"],
        progress=False,
      )
    kept, good = saver.restore(state)
  assert kept == 16
  assert bool(jnp.isfinite(good.params).all())


def test_check_finite_names_the_seed_and_the_gradient():
  losses = np.ones((2, 3, 2))
  losses[1, 2, 0] = np.inf
  with pytest.raises(TrainingDiverged, match=r"task '0' is inf at step 12 of seed 1"):
    check_finite({"losses": losses}, first_step=10)
  with pytest.raises(TrainingDiverged, match=r"gradient is not finite at step 11"):
    check_finite(
      {"losses": np.ones((3, 2)), "gradient_norm": np.array([1.0, np.nan, 1.0])}, first_step=10
    )


def test_a_cut_line_of_metrics_is_left_out(tmp_path):
  (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')
  with MetricsWriter(tmp_path, resume_from=1) as writer:
    writer.write({"step": 2, "loss": np.float32(0.5)})
  assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2, "loss": 0.5}]


def test_damaged_lines_are_named_and_the_others_stay(tmp_path, caplog):
  log = tmp_path / "metrics.jsonl"
  rows = [{"step": i, "loss": i / 2} for i in range(1, 7)]
  lines = [json.dumps(row).encode() for row in rows]
  lines[1] = lines[1][:9]  # torn, and written on behind
  lines[3] = b"\xff\xfe" + lines[3]
  lines[4] = b"12"
  log.write_bytes(b"\n".join(lines) + b"\n")
  before = log.read_bytes()
  with MetricsWriter(tmp_path, resume_from=6) as writer:
    assert [row["step"] for row in writer.rows] == [1, 3, 6]
  assert f"{log}: line 2, 4, 5 cannot be read" in caplog.text
  assert (tmp_path / "metrics.jsonl.before_resume").read_bytes() == before
  assert [row["step"] for row in read_rows(log)] == [1, 3, 6]


@pytest.mark.parametrize("fails", [1, 2])
def test_a_kill_while_the_log_is_rewritten_loses_nothing(tmp_path, monkeypatch, fails):
  log = tmp_path / "metrics.jsonl"
  log.write_text("".join(json.dumps({"step": i}) + "\n" for i in range(1, 5)))
  replace, calls = os.replace, []

  def dies(*paths):
    calls.append(paths)
    if len(calls) == fails:
      raise KeyboardInterrupt
    replace(*paths)

  monkeypatch.setattr(os, "replace", dies)
  with pytest.raises(KeyboardInterrupt):
    MetricsWriter(tmp_path, resume_from=2)
  monkeypatch.undo()
  assert len(read_rows(log)) == 4
  with MetricsWriter(tmp_path, resume_from=2) as writer:
    assert len(writer.rows) == 2


@pytest.fixture
def small_files():
  """As on a full disk, files grow to some hundred bytes and no further."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_with_the_files_name_instead_of_waiting_forever(tmp_path, small_files):
  def fill(write):
    for step in range(100):
      write(step)

  board = Board(tmp_path / "tensorboard")
  with pytest.raises(OSError, match=r"File too large: .*tensorboard"):
    fill(lambda step: board.write(step, {"loss": 0.5}))
  writer = MetricsWriter(tmp_path)
  with pytest.raises(OSError, match=r"File too large: .*(metrics\.jsonl|tensorboard)"):
    fill(lambda step: writer.write({"step": step, "loss": 0.5}))
  with pytest.raises(OSError, match="File too large"):
    writer.close()
  log = tmp_path / "metrics.jsonl"
  before = log.read_bytes()
  with pytest.raises(OSError, match=r"File too large: .*metrics\.jsonl"), replacing(log) as draft:
    draft.write_bytes(b"0" * 1000)
  assert log.read_bytes() == before
  with locked(tmp_path):  # nothing is left behind, nor kept
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".lock", "metrics.jsonl", "tensorboard"]


def explodes(part, at=3):
  """A state whose losses stay finite while a part of it does not; four steps a call."""

  def run_epoch(state):
    step = state.step + 4
    bad = jnp.where(step >= 4 * at, jnp.inf, 1.0)
    changed = jax.tree.map(lambda x: x * bad, getattr(state, part))
    return state.replace(step=step, **{part: changed}), {"losses": np.ones((4, 1))}

  return run_epoch


@pytest.mark.parametrize("part", ["params", "model_state", "optimizer"])
def test_what_is_not_finite_is_neither_saved_nor_given_back(tmp_path, part):
  empty = optax.EmptyState()
  state = TrainState(
    jnp.int32(0), {"w": jnp.ones(2)}, {"mean": jnp.ones(1)}, empty, empty, jnp.ones(1), None
  )
  with Checkpointer(tmp_path) as saver:
    if part == "optimizer":  # a plateau's best loss is infinite before there is any
      fit(state, explodes(part), 5, checkpointer=saver, progress=False)
      return
    name = {"params": "params/w", "model_state": "model_state/mean"}[part]
    message = (
      rf"{name} of the state is not finite after step 12; lower the .* good checkpoint stays"
    )
    with pytest.raises(TrainingDiverged, match=message):
      fit(state, explodes(part), 5, checkpointer=saver, progress=False)
    kept, good = saver.restore(state)
    assert (kept, good.params["w"].tolist(), good.model_state["mean"].tolist()) == (8, [1, 1], [1])
  with pytest.raises(TrainingDiverged, match="not finite after step 12"):
    fit(state, explodes(part), 3, evaluate_every=100, progress=False)


def test_what_was_infinite_at_the_start_may_stay_so():
  state = {"best": jnp.array(jnp.inf), "w": jnp.ones(2)}
  run_epoch = lambda state: (state, {"losses": np.ones((1, 1))})  # noqa: E731
  assert fit(state, run_epoch, 2, progress=False).state is state
  check_state({"runs": [state["w"]]}, 3)
  with pytest.raises(TrainingDiverged, match=r"best of the state is not finite after step 3"):
    check_state(state, 3)
