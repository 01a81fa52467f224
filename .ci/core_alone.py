"""The core without extras: what an installed wheel can do with JAX, optax and NumPy alone."""

import importlib.util
import pathlib
import re
import sys
import time

import jax
import jax.numpy as jnp
import optax

before = set(sys.modules)
started = time.perf_counter()
import jaxmtl  # noqa: E402

seconds = time.perf_counter() - started
EXTRAS = (
  *("PIL", "array_record", "chex", "flax", "grain", "matplotlib", "openpyxl", "orbax", "rich"),
  *("pycocoevalcap", "safetensors", "scipy", "sklearn", "tensorboardX", "tensorflow_datasets"),
  *("tokenizers", "tyro"),
)
REACHABLE = (
  *("aggregation", "data", "gradients", "labels", "losses", "meta", "metrics"),
  *("regularization", "training", "transforms", "weighting"),
)
NEED_MORE = {
  "models": lambda: jaxmtl.models,
  "plots": lambda: jaxmtl.plots,
  "data": lambda: jaxmtl.data.load("digits"),
  "language": lambda: jaxmtl.data.language.Tokenizer.train(["a"], 300),
  "training": lambda: jaxmtl.training.save_weights("x.safetensors", {"w": jnp.ones(1)}),
}
T = 3
RUN = ("equal", "auto_lambda", "mgda", "moco")


def losses_fn(params, model_state, batch, key):
  """Regression of T targets."""
  out = jnp.tanh(batch["x"] @ params["w"])
  return jnp.mean((out - batch["y"]) ** 2, axis=0), jaxmtl.training.Aux()


def transform_of(name):
  """A method with what it needs."""
  options = {"constant": {"weights": [1.0] * T}, "stch": {"mu": 0.5}}.get(name, {})
  return jaxmtl.METHODS[name](T, **options)


def epoch_of(name):
  """An epoch by one method, and the state it starts from."""
  kind = "aggregator" if name in jaxmtl.aggregation.METHODS else "weighting"
  step = jaxmtl.training.train_step(
    losses_fn, optax.adam(0.1, eps_root=1e-8), T, **{kind: transform_of(name)}
  )
  state = step.init({"w": jnp.eye(4, T)}, jax.random.key(0))
  epoch = jaxmtl.training.scan_epoch(step.update, batch_size=16, pairs=step.pairs)
  return jax.jit(epoch, compiler_options={"xla_backend_optimization_level": 0}), state


def says_what_to_install(extra, use):
  """Whether an extra that is missing is told."""
  try:
    use()
  except ImportError as error:
    return f"pip install 'jaxmtl[{extra}]'" in str(error)
  return False


def main(readme: str) -> None:
  """All checks, with the README's first block of code."""
  loaded = sorted({name.split(".")[0] for name in set(sys.modules) - before} & set(EXTRAS))
  assert not loaded, f"import jaxmtl loads {loaded}"
  bare = importlib.util.find_spec("flax") is None
  print(f"import jaxmtl: {seconds:.2f} s after JAX and optax; bare environment: {bare}")
  for name in REACHABLE:
    assert getattr(jaxmtl, name).__name__ == f"jaxmtl.{name}"
  if bare:
    for extra, use in NEED_MORE.items():
      assert says_what_to_install(extra, use), extra

  keys = jax.random.split(jax.random.key(0))
  data = {"x": jax.random.normal(keys[0], (64, 4)), "y": jax.random.normal(keys[1], (64, T))}
  for name in jaxmtl.METHODS:
    epoch, state = epoch_of(name)
    jax.eval_shape(epoch, state, data)  # what is imported late is imported now
    if name in RUN:
      state, metrics = epoch(state, data)
      assert int(state.step) == 4, name
      assert bool(jnp.isfinite(metrics["losses"]).all()), name
  print(f"{len(jaxmtl.METHODS)} methods take steps, {len(RUN)} took some")

  block = re.search(r"```python\n(.*?)```", pathlib.Path(readme).read_text(), re.DOTALL)
  assert block is not None
  exec(compile(block[1], readme, "exec"), {"__name__": "readme"})
  print(f"jaxmtl {jaxmtl.__version__}: the core alone works")


main(sys.argv[1])
