"""Time of a step with DGR, in plain multi-task steps, and how far its forms agree.

Command: `python -m benchmarks.dgr --repeats 7`. A ResNet-18 on faces' three tasks with heads of one
or two layers, Adam: the step without regularisation, with DGR in each form, and with SAM. Errors
are those of the penalty's gradient for the features against the exact form in double precision.
Prints Markdown tables.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks.timing import interleaved, medians
from jaxmtl import losses, models, regularization, training

TASKS = {"age": 7, "gender": 2, "ethnicity": 5}
WEIGHT = 1e-3


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    backbone: any name of `jaxmtl.models.create`.
    width: its width.
    size: side of the images in pixels.
    batch: images a step.
    hidden: units of the first of two layers of a head; 0 for linear heads.
    dummies: dummy heads a task.
    repeats: timed rounds.
  """

  backbone: str = "resnet18"
  width: float = 0.25
  size: int = 32
  batch: int = 64
  hidden: int = 0
  dummies: int = 3
  repeats: int = 7


def make_heads(hidden: int) -> dict[str, nn.Module]:
  """The tasks' heads."""
  if not hidden:
    return {t: nn.Dense(n) for t, n in TASKS.items()}
  return {t: nn.Sequential([nn.Dense(hidden), nn.relu, nn.Dense(n)]) for t, n in TASKS.items()}


def programs(config: Config) -> dict[str, Callable[[], Any]]:
  """The steps."""
  heads = make_heads(config.hidden)
  model = models.MultiHead(models.create(config.backbone, width=config.width), heads)
  rng = np.random.default_rng(0)
  shape = (config.batch, config.size, config.size, 3)
  batch = {"image": jnp.asarray(rng.normal(size=shape), jnp.float32)}
  batch |= {t: jnp.asarray(rng.integers(n, size=config.batch)) for t, n in TASKS.items()}
  variables = jax.jit(model.init)(jax.random.key(0), batch["image"])
  features = model.apply(variables, batch["image"][:2], method="encode")
  dummies = regularization.dummy_heads(jax.random.key(1), heads, features, config.dummies)

  def losses_of(estimator: str | None) -> Callable[..., Any]:
    def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
      del key
      now = {"params": params, **model_state}
      features, updated = model.apply(
        now, batch["image"], train=True, mutable=["batch_stats"], method="encode"
      )
      outputs = model.apply(now, features, method="decode")
      found = {t: losses.cross_entropy(outputs[t], batch[t]) for t in TASKS}
      if estimator:
        penalties = regularization.dgr(
          heads, dummies, features, batch, weight=WEIGHT, estimator=estimator
        )
        found = {t: found[t] + penalties[t] for t in TASKS}
      return found, training.Aux(updated)

    return losses_fn

  def compiled(losses_fn: Callable[..., Any]) -> Callable[[], Any]:
    step = training.train_step(losses_fn, optax.adam(1e-3), len(TASKS), shared=models.shared_mask)
    model_state = {"batch_stats": variables["batch_stats"]}
    state = step.init(variables["params"], jax.random.key(2), model_state)
    call = jax.jit(step.update).lower(state, batch).compile()
    return lambda: jax.block_until_ready(call(state, batch))

  return {
    "plain": compiled(losses_of(None)),
    **{f"DGR, {e}": compiled(losses_of(e)) for e in ("exact", "autodiff", "finite_difference")},
    "SAM": compiled(regularization.sam(losses_of(None))),
  }


def errors(config: Config, length: int = 128) -> dict[str, dict[str, float]]:
  """Relative errors of the penalty's gradient, by estimator, for several heads."""
  rng = np.random.default_rng(0)
  features = rng.normal(size=(config.batch, length))
  found: dict[str, dict[str, float]] = {}

  def layers(activation: Callable[[jax.Array], jax.Array]) -> nn.Module:
    return nn.Sequential([nn.Dense(64), activation, nn.Dense(7)])

  kinds = {
    "linear, 7 classes": (nn.Dense(7), 7),
    "linear, 512 classes (Gramians)": (nn.Dense(512), 512),
    "two layers, tanh": (layers(nn.tanh), 7),
    "two layers, ReLU": (layers(nn.relu), 7),
  }
  for name, (head, classes) in kinds.items():
    heads = {"task": head}
    labels = {"task": rng.integers(classes, size=config.batch)}
    dummies = regularization.dummy_heads(
      jax.random.key(1), heads, jnp.ones((1, length)), config.dummies
    )

    def gradient(
      dtype: Any, estimator: str, heads: Any = heads, dummies: Any = dummies, labels: Any = labels
    ) -> np.ndarray:
      def penalty(x: jax.Array) -> jax.Array:
        own = jax.tree.map(lambda leaf: leaf.astype(dtype), dummies)
        return regularization.dgr(heads, own, x, labels, weight=1.0, estimator=estimator)["task"]

      return np.asarray(jax.jit(jax.grad(penalty))(jnp.asarray(features, dtype)), float)

    with jax.enable_x64(True):
      truth, wide = (gradient(jnp.float64, e) for e in ("autodiff", "exact"))
    single = {e: gradient(jnp.float32, e) for e in ("exact", "autodiff", "finite_difference")}
    forms = {"exact, float64": wide} | {f"{e}, float32": value for e, value in single.items()}
    found[name] = {
      form: float(np.linalg.norm(value - truth) / np.linalg.norm(truth))
      for form, value in forms.items()
    }
  return found


def main(config: Config) -> None:
  """Time the steps in turn and print Markdown tables."""
  print(f"{jax.default_backend()}, {jax.devices()[0].device_kind}\n")
  times = medians(interleaved(programs(config), config.repeats))
  print("| step | s | plain steps |")
  print("| --- | --- | --- |")
  for name, seconds in times.items():
    print(f"| {name} | {seconds:.4f} | {seconds / times['plain']:.2f} |")
  print("\n| heads | gradient | relative error against autodiff in float64 |")
  print("| --- | --- | --- |")
  for name, by_form in errors(config).items():
    for form, error in by_form.items():
      print(f"| {name} | {form} | {error:.1e} |")


if __name__ == "__main__":
  main(tyro.cli(Config))
