"""The pages' code and the public functions' types, as mypy and pyright see them."""

import pathlib
import shutil
import subprocess
import sys

import blocks
import pytest

# Where mypy runs on the project, what it found about JAX, optax and Flax is there already.
CACHE = blocks.ROOT / ".mypy_cache"
OWN = """
from typing import assert_type

import jax
import jax.numpy as jnp
import jaxmtl
from flax import nnx

Params = dict[str, jax.Array]


def losses_fn(params: Params, x: jax.Array, *, scale: float = 1.0) -> Params:
  return {name: scale * (param * x).sum() for name, param in params.items()}


def with_aux(params: Params, x: jax.Array) -> tuple[jax.Array, str]:
  return params["a"] * x, "aux"


def of_module(model: nnx.Linear, x: jax.Array) -> jax.Array:
  return model(x).mean(axis=0)


params, x = {"a": jnp.ones(2)}, jnp.ones(2)
losses, grads = jaxmtl.task_value_and_grad(losses_fn)(params, x, scale=2.0)
assert_type(losses, jax.Array)
assert_type(grads, Params)
(losses, aux), grads = jaxmtl.task_value_and_grad(with_aux, has_aux=True)(params, x)
assert_type(aux, str)
losses, (gramian, pullback) = jaxmtl.task_gramian(losses_fn)(params, x)
assert_type(pullback(x), Params)
(losses, aux), (gramian, pullback) = jaxmtl.task_gramian(with_aux, has_aux=True)(params, x)
assert_type(aux, str)
weights, state = jaxmtl.mgda(2).weigh(gramian, ())
assert_type(weights, jax.Array)
losses, (both, pull) = jaxmtl.task_gramian(losses_fn, argnums=(0, 1))(params, x)
losses, apart = jaxmtl.task_value_and_grad(losses_fn, specific_argnums=1)(params, x)
losses, grad = jaxmtl.task_value_and_grad(lambda w, x: jnp.stack([w.sum(), w @ x]))(x, x)
assert_type(jaxmtl.apply_updates(params, params), Params)
model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
losses, found = jaxmtl.nnx.task_value_and_grad(of_module)(model, jnp.eye(2))
assert_type(losses, jax.Array)
losses, (gramian, call) = jaxmtl.nnx.task_gramian(of_module)(model, jnp.eye(2))
assert_type(gramian, jax.Array)
wrong = jaxmtl.task_value_and_grad(losses_fn)(params, "no array")  # EXPECTED
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """The pages' programs, each a file."""
  folder = tmp_path_factory.mktemp("pages")
  programs = [*blocks.readme(), *blocks.programs(), OWN]
  for i, program in enumerate(programs):
    # What a loop over a range of numbers sets is set; not every library of the recipes is here.
    text = "# pyright: reportPossiblyUnboundVariable=false, reportMissingImports=false\n" + program
    (folder / f"program_{i}.py").write_text(text)
  return folder


def check(command, wanted):
  done = subprocess.run(command, capture_output=True, text=True, cwd=blocks.ROOT)
  errors = [line for line in done.stdout.splitlines() if "error" in line and ".py:" in line]
  assert len(errors) == 1, done.stdout + done.stderr  # that of the last line
  assert wanted in errors[0]


def test_mypy(files):
  if shutil.which("mypy", path=pathlib.Path(sys.executable).parent) is None:
    pytest.skip("mypy is not installed")
  command = [sys.executable, "-m", "mypy", f"--cache-dir={CACHE}"]
  check([*command, *sorted(map(str, files.glob("*.py")))], "[arg-type]")


def test_pyright(files):
  # It would guess types from the code of packages that declare none, for half of the time.
  (files / "pyrightconfig.json").write_text('{"useLibraryCodeForTypes": false}')
  pyright = shutil.which("pyright", path=pathlib.Path(sys.executable).parent)
  if pyright is None:
    pytest.skip("pyright is not installed")
  try:  # it fetches Node.js where there is none
    subprocess.run([pyright, "--version"], check=True, capture_output=True, timeout=60)
  except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
    pytest.skip("pyright cannot get Node.js here")
  check([pyright, "--pythonpath", sys.executable, "-p", str(files)], "no array")
