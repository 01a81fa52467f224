"""Checkpoints that changed on disk, belong to something else, or are taken in part; locks."""

import errno
import fcntl
import logging
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmtl.training import Checkpointer, TrainState, locked
from jaxmtl.training.checksums import _on_devices, checksum


def state_of(optimizer, params):
  empty = optax.EmptyState()
  return TrainState(
    jnp.int32(0), params, (), empty, empty, optimizer.init(params), jax.random.key(0)
  )


def flipped(content, place):
  return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def test_any_flipped_byte_is_found_and_the_one_before_is_taken(tmp_path, caplog):
  first = {"w": jax.random.normal(jax.random.key(0), (600,)), "n": jnp.int32(7)}
  second = jax.tree.map(lambda x: x + 1, first)
  with Checkpointer(tmp_path) as saver:
    saver.save(1, first)
    saver.save(2, second)
    saver.wait()
    files = [f for f in (tmp_path / "2").rglob("*") if f.is_file() and f.stat().st_size]
    found = set()
    for file in files:
      whole = file.read_bytes()
      # Numbers of a kilobyte and more lie in a file of their own, without any checksum.
      places = np.linspace(0, len(whole) - 1, 8 if len(whole) > 2000 else 2).astype(int)
      for place in places:
        file.write_bytes(flipped(whole, place))
        step, state = saver.restore(first)
        found.add(step)
        want = {1: first, 2: second}[step]
        jax.tree.map(np.testing.assert_array_equal, state, want)
      file.write_bytes(whole)
  assert found == {1, 2}  # some files hold nothing that matters
  assert "its checksum is another one); falling back to the one before it" in caplog.text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex64"])
def test_a_checksum_is_the_same_on_devices(dtype):
  leaf = (jnp.arange(9) * 37 % 5).astype(dtype)
  assert checksum(leaf) == int(_on_devices(leaf)) == checksum(np.asarray(leaf))


def test_a_checksum_changes_with_any_byte_and_needs_no_copy_of_the_whole(monkeypatch):
  rng = np.random.default_rng(0)
  leaf = rng.normal(size=40)
  whole = checksum(leaf)
  for place in range(leaf.nbytes):
    assert checksum(np.frombuffer(flipped(leaf.tobytes(), place))) != whole
  monkeypatch.setattr("jaxmtl.training.checksums._AT_ONCE", 7)
  assert checksum(leaf) == whole


def test_what_was_saved_without_checksums_is_still_read(tmp_path):
  import orbax.checkpoint as ocp

  item = {"state": ocp.args.StandardSave({"w": jnp.ones(2)}), "config": ocp.args.JsonSave({"a": 1})}
  with ocp.CheckpointManager(tmp_path) as manager:
    manager.save(3, args=ocp.args.Composite(**item))
  with Checkpointer(tmp_path, {"a": 1}) as saver:
    step, state = saver.restore({"w": jnp.zeros(2)})
    assert (step, state["w"].tolist()) == (3, [1.0, 1.0])
  with Checkpointer(tmp_path, {"a": 2}) as saver, pytest.raises(ValueError, match="a: 1 saved, 2"):
    saver.restore({"w": jnp.zeros(2)})


def test_another_structure_or_dtype_says_so(tmp_path):
  params = {"w": jnp.ones((3, 2))}
  with Checkpointer(tmp_path) as saver:
    saver.save(1, state_of(optax.adam(0.1), params))
    for asked, message in (
      (state_of(optax.sgd(0.1), params), r"optimizer/0/count: int32\[\] saved, nothing asked for"),
      (
        state_of(optax.adam(0.1), {"w": jnp.ones((3, 2), jnp.bfloat16)}),
        r"params/w: float32\[3, 2\] saved, bfloat16\[3, 2\] asked for",
      ),
      (state_of(optax.adam(0.1), {"v": jnp.ones(3)}), r"params/v: nothing saved, float32\[3\] ask"),
    ):
      with pytest.raises(ValueError, match=rf"checkpoint 1 in .* holds another state .*{message}"):
        saver.restore(asked)


def test_parameters_alone_start_another_optimiser_and_configuration(tmp_path):
  trained = state_of(optax.adam(0.1), {"w": jnp.full((3, 2), 2.0)})
  with Checkpointer(tmp_path, {"method": "dwa"}) as saver:
    saver.save(4, trained)
  fresh = state_of(optax.sgd(0.1, momentum=0.9), {"w": jnp.zeros((3, 2))})
  with Checkpointer(tmp_path, {"method": "pcgrad"}, read_only=True) as saver:
    step, state = saver.restore(fresh, only=("params", "model_state"))
    assert step == 4
    assert type(state) is TrainState
    np.testing.assert_array_equal(state.params["w"], trained.params["w"])
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), state.optimizer, fresh.optimizer)
    assert jax.tree.all(same)
    other = state_of(optax.sgd(0.1), {"w": jnp.zeros((4, 2))})
    with pytest.raises(ValueError, match=r"params/w: float32\[3, 2\] saved, float32\[4, 2\] asked"):
      saver.restore(other, only=["params"])


def test_an_option_that_came_later_has_its_default(tmp_path):
  with Checkpointer(tmp_path, {"lr": 0.1, "method": {"name": "dwa"}}) as saver:
    saver.save(1, {"w": jnp.ones(2)})
  defaults = {"new": 0, "method": {"swap": True}}
  for config, message in (
    ({"lr": 0.1, "new": 0, "method": {"name": "dwa", "swap": True}}, None),
    ({"lr": 0.1, "new": 2, "method": {"name": "dwa"}}, "new: 0 saved, 2 asked for"),
    ({"lr": 0.1, "method": {"name": "dwa", "swap": False}}, "method.swap: True saved, False asked"),
    ({"lr": 0.1, "method": {"name": "dwa"}, "x": 0}, "x: 'nothing' saved, 0 asked for"),
  ):
    with Checkpointer(tmp_path, config, defaults=defaults) as saver:
      if message is None:
        assert saver.restore({"w": jnp.zeros(2)})[0] == 1
      else:
        with pytest.raises(ValueError, match=message):
          saver.restore({"w": jnp.zeros(2)})


def test_tuples_are_no_other_configuration(tmp_path):
  with Checkpointer(tmp_path, {"tasks": ("a", "b")}) as saver:
    saver.save(1, {"w": jnp.ones(2)})
    assert saver.restore({"w": jnp.zeros(2)})[0] == 1


def test_looking_needs_a_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match="no folder of checkpoints"):
    Checkpointer(tmp_path / "none", read_only=True)
  assert not (tmp_path / "none").exists()


HOLD = """
import sys, time
from jaxmtl.training.lock import locked
with locked(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that has the folder."""
  script = tmp_path / "hold.py"
  script.write_text(HOLD)
  root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
  with subprocess.Popen(
    [sys.executable, str(script), str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": root},
  ) as process:
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()


def test_a_folder_has_one_process_and_is_free_when_that_dies(tmp_path, holder):
  message = rf"is in use by process {holder.pid} on .*hold\.py.*another --workdir"
  with pytest.raises(BlockingIOError, match=message), locked(tmp_path):
    pass
  with pytest.raises(BlockingIOError, match=message):
    Checkpointer(tmp_path)
  # It may be looked at.
  Checkpointer(tmp_path, read_only=True).close()
  holder.kill()
  holder.wait()
  # The process' own, as often as it likes.
  with locked(tmp_path), locked(tmp_path), Checkpointer(tmp_path) as saver:
    assert saver.restore({"w": jnp.zeros(2)}) is None


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
  def flock(file, how):
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

  monkeypatch.setattr(fcntl, "flock", flock)
  with caplog.at_level(logging.WARNING), locked(tmp_path):
    assert f"{tmp_path} is on a file system without locks" in caplog.text
