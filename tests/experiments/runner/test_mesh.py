"""Meshes of simulated devices and two real processes give one device's results."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from experiments.runner.feeds import DeviceFeed, DomainFeed, Zip
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import Problem
from experiments.runner.mesh import Layout, start_processes
from experiments.runner.run import Runner
from jaxmtl import training

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
# Another order of the same float32 sums.
CLOSE = {"rtol": 2e-5, "atol": 1e-6}


def close(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), a.variables, b.variables)
  for x, y in zip(a.history, b.history, strict=True):
    for name in ("losses", "weights"):
      np.testing.assert_allclose(x[name], y[name], **CLOSE)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), a.values, b.values)


@pytest.mark.parametrize(("mesh", "method"), [("2x4", "auto_lambda"), ("1x8", "dwa+pcgrad")])
def test_a_mesh_gives_one_devices_result(tmp_path, job, mesh, method):
  # Through Adam, a hypergradient's sign is a matter of rounding where a gradient is nearly zero.
  same = {"method": method, "batch_size": 8, "optimizer": optax.sgd}
  one = Runner(tmp_path / "one").run(job(**same))
  many = Runner(tmp_path / "many", layout=Layout.parse(mesh)).run(job(**same))
  close(one, many)


def test_a_checkpoint_of_eight_devices_goes_on_on_one_and_back(tmp_path, job):
  whole = Runner(tmp_path / "whole").run(job(batch_size=8, epochs=4))
  folder = tmp_path / "moved"
  for layout, until in ((Layout.parse("2x4"), 1), (Layout(), 3), (Layout.parse("1x8"), 4)):
    moved = Runner(folder, layout=layout).run(job(batch_size=8, epochs=4), until=until)
  close(whole, moved)


def test_batches_are_spread_and_runs_too(tmp_path, job):
  """Each device works on its own runs and its own examples only."""
  shapes = []

  def spy(problem):
    def losses_fn(params, model_state, batch, key):
      jax.debug.inspect_array_sharding(batch["x"], callback=lambda s: shapes.append(s))
      return problem.losses_fn(params, model_state, batch, key)

    return problem._replace(losses_fn=losses_fn)

  layout = Layout.parse("2x4")
  plain: Problem = job().problem
  runner = Runner(tmp_path, layout=layout)
  runner.run(job(problem=spy(plain), batch_size=8, epochs=1))
  assert shapes
  # Runs x examples x columns: two runs on two rows of devices, eight examples on four columns.
  assert all(s.shard_shape((2, 8, 3)) == (1, 2, 3) for s in shapes)


@pytest.mark.parametrize("kind", ["zip", "domains"])
def test_every_feed_on_a_mesh(tmp_path, job, kind):
  rng = np.random.default_rng(0)
  many = {n: rng.normal(size=(24, 8, *s)).astype(np.float32) for n, s in SHAPES.items()}
  rows = {n: v[:, 0] for n, v in many.items()}
  source = [{n: v[i] for n, v in rows.items()} for i in range(24)]
  feed = {
    "zip": lambda: Zip(a=DeviceFeed(rows, 8), b=HostFeed(source[:16], 8)),
    "domains": lambda: DomainFeed(many, 8),
  }[kind]
  merge = {
    "zip": lambda batch: jax.tree.map(lambda a, b: a + b, batch["a"], batch["b"]),
    "domains": lambda batch: jax.tree.map(lambda x: x.mean(1), batch),
  }[kind]
  problem = job().problem._replace(prepare=lambda key, batch: merge(batch))
  small = {"problem": problem, "epochs": 2, "parts": {}}
  one = Runner(tmp_path / "one").run(job(feed=feed(), **small))
  spread = Runner(tmp_path / "many", layout=Layout.parse("2x4")).run(job(feed=feed(), **small))
  close(one, spread)


SHAPES = {"x": (3,), "up": (), "down": ()}


@pytest.mark.parametrize(
  ("mesh", "options", "message"),
  [
    ("2x2", {}, "mesh 2x2 has 4 devices, and there are 8"),
    ("eight", {}, "mesh must be runs x data"),
    ("8x1", {}, "runs must be a multiple of the mesh's 8 devices for it, got 2; change --seeds"),
    ("1x8", {"batch_size": 4}, "batch_size must be a multiple of the mesh's 8 .* --batch-size"),
  ],
)
def test_a_mesh_that_does_not_fit_is_named(tmp_path, job, mesh, options, message):
  with pytest.raises(ValueError, match=message):
    Runner(tmp_path, layout=Layout.parse(mesh)).run(job(**options))
  assert not list(tmp_path.iterdir())


def test_processes_need_all_that_they_need():
  with pytest.raises(ValueError, match="needs --num-processes and --process too"):
    start_processes("localhost:1234", 2, None)
  with pytest.raises(ValueError, match="need coordinator"):
    start_processes(None, 2, 0)


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from experiments.runner.mesh import Layout, start_processes
from experiments.runner.run import Runner
port, process, folder = sys.argv[1:4]
start_processes("localhost:" + port, 2, int(process))
from conftest import line_job
# Each process first has a run of its own, then half of each batch.
for until, mesh in ((2, "2x4"), (3, "1x8")):
  runner = Runner(folder, layout=Layout.parse(mesh))
  outcome = runner.run(line_job(batch_size=8), until=until)
  print("found", outcome.epochs.tolist(), sorted(outcome.variables), flush=True)
"""


def processes(script, folder):
  """Runs two processes of four devices each; their outputs."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = str(free.getsockname()[1])
  env = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": str(ROOT)}
  running = [
    subprocess.Popen(
      [sys.executable, str(script), port, str(i), str(folder)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=env,
    )
    for i in range(2)
  ]
  try:
    found = [p.communicate(timeout=300) for p in running]
  finally:
    for p in running:  # one waits forever where the other ended
      p.kill()
  assert [p.returncode for p in running] == [0, 0], found
  return [out for out, _ in found]


def test_two_processes_give_one_processes_result_and_go_on(tmp_path, job):
  script = tmp_path / "script.py"
  script.write_text(SCRIPT.format(path=[str(HERE), str(ROOT)]))
  folder = tmp_path / "two"
  first, second = processes(script, folder)
  assert "found [1, 2] ['params']" in first
  assert "found [1, 2] ['params']" in second  # what process 0 read
  assert "goes on after epoch 2 of 3" in first
  assert "goes on" not in second
  assert "found [1, 2, 3] ['params']" in first
  assert "found [1, 2, 3] ['params']" in second
  rows = [json.loads(line) for line in (folder / "line" / "metrics.jsonl").open()]
  assert [row["epoch"] for row in rows] == [1, 2, 3]
  # One process reads what two left, and finds it done; and its own result is the same.
  both = Runner(folder).run(job(batch_size=8))
  close(both, Runner(tmp_path / "one").run(job(batch_size=8)))
  assert training.load_weights(folder / "line" / "weights.safetensors")
