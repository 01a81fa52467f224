"""Every weighting of LibMTL beside ours: the same parameters, batches and draws, step by step.

Command: `python -m benchmarks.libmtl`, where `LibMTL==1.1.5` and PyTorch are installed. A trunk of
eight tanh units and a linear head for each of three regressions whose losses differ a
thousandfold; twelve steps in epochs of four, in double precision. Both take the same parameters at
every step, and move their own scales and means by themselves, by Adam. Random methods get our
draws. Prints a Markdown table: over all steps the smallest cosine between both gradients of the
trunk, and the range of ours' length over theirs; the same of the heads.
"""

import dataclasses
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxmtl
from benchmarks.aggregation import let_libmtl_in
from jaxmtl import training
from jaxmtl.aggregation.pcgrad import draw_orders

TASKS = ("first", "second", "third")
INPUTS, UNITS, OUTPUTS, BATCH = 6, 8, 2, 10
STEPS, EPOCH = 12, 4
RATE = 0.01
KEPT = (0, 5, 9, 11)  # steps of the golden values
SCALES = np.array([1.0, 30.0, 0.03])

# Ours by the name of theirs: options of `train_step`, and theirs.
METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
  "EW": ("EW", {}, {}),
  "UW": ("UW", {"weighting": jaxmtl.uncertainty(3, init=-0.5)}, {}),
  "DWA": ("DWA", {"weighting": jaxmtl.dwa(3, steps_per_epoch=EPOCH)}, {"T": 2.0}),
  "GLS": ("GLS", {"weighting": jaxmtl.gls(3)}, {}),
  "RLW": ("RLW", {"weighting": jaxmtl.rlw(3, total=1.0)}, {"dist": "Normal"}),
  "GradNorm": (
    "GradNorm",
    {"weighting": jaxmtl.gradnorm(3, learning_rate=None, steps_per_epoch=EPOCH, equal_steps=EPOCH)},
    {"alpha": 1.5},
  ),
  **{
    f"MGDA, {name}": (
      "MGDA",
      {"aggregator": jaxmtl.mgda(3, name, combine="normalized")},  # type: ignore[arg-type]
      {"mgda_gn": name},
    )
    for name in ("none", "l2", "loss", "loss+")
  },
  "IMTL": ("IMTL", {"weighting": jaxmtl.imtl_l(3), "aggregator": jaxmtl.imtl_g(3)}, {}),
  "CAGrad": ("CAGrad", {"aggregator": jaxmtl.cagrad(3)}, {"calpha": 0.5, "rescale": 1}),
  "PCGrad": ("PCGrad", {"aggregator": jaxmtl.pcgrad(3)}, {}),
  "GradVac": ("GradVac", {"aggregator": jaxmtl.gradvac(3, always_update=False)}, {"beta": 0.5}),
  "GradDrop": ("GradDrop", {}, {"leak": 0.0}),
}


@dataclasses.dataclass(frozen=True)
class Config:
  """What to write.

  Args:
    golden: `.npz` file for LibMTL's gradients at some of the steps, which the tests hold ours to.
  """

  golden: pathlib.Path | None = None


def apply(params: Any, x: jax.Array, key: jax.Array | None) -> jax.Array:
  """Outputs `[3, B, 2]`; with a key signs are dropped behind the trunk."""
  encoded = jnp.tanh(x @ params["trunk"])
  copies = jaxmtl.graddrop_layer(encoded, 3, key) if key is not None else encoded[None]
  return copies @ params["heads"]


def ours(name: str) -> tuple[Any, Callable[..., Any]]:
  """A train step, and a function of its state and a batch that gives gradients and a state."""

  def losses_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
    del key
    x, y, draw = batch
    outputs = apply(params, x, draw if name == "GradDrop" else None)
    return SCALES * ((outputs - y) ** 2).mean((1, 2)), training.Aux()

  _, options, _ = METHODS[name]
  step = training.train_step(
    losses_fn,
    optax.adam(RATE),
    3,
    shared=lambda params: {"trunk": True, "heads": False},
    **options,
  )

  @jax.jit
  def gradients(state: Any, batch: Any) -> Any:
    new, metrics = step.update(state, batch)
    grads = jax.tree.map(
      lambda a, b: (b - 0.9 * a) / 0.1, state.optimizer[0].mu, new.optimizer[0].mu
    )
    return grads, new, metrics

  return step, gradients


def theirs(name: str) -> Callable[[Any, Any], dict[str, np.ndarray]]:
  """A step of LibMTL's own architecture and weighting at given parameters: its gradients."""
  import torch
  from LibMTL import weighting
  from LibMTL.architecture import HPS

  torch.set_default_dtype(torch.float64)
  cls, _, options = METHODS[name]

  class Encoder(torch.nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.weight = torch.nn.Parameter(torch.zeros(INPUTS, UNITS))

    def forward(self, x: Any) -> Any:
      return torch.tanh(x @ self.weight)

    def zero_grad(self, set_to_none: bool = False) -> None:  # LibMTL is older than PyTorch's True
      super().zero_grad(set_to_none)

  class Model(HPS, getattr(weighting, cls)):  # type: ignore[misc]
    pass

  decoders = torch.nn.ModuleDict({t: torch.nn.Linear(UNITS, OUTPUTS, bias=False) for t in TASKS})
  model = Model(list(TASKS), Encoder, decoders, name == "GradDrop", False, torch.device("cpu"))
  model.init_param()
  model.train_loss_buffer = np.zeros((3, STEPS // EPOCH + 1))
  optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
  seen: list[np.ndarray] = []

  def step(params: Any, batch: Any) -> dict[str, np.ndarray]:
    count = len(seen)
    model.epoch = count // EPOCH
    if count and count % EPOCH == 0:
      model.train_loss_buffer[:, model.epoch - 1] = np.mean(seen[-EPOCH:], axis=0)
    with torch.no_grad():
      model.encoder.weight.copy_(torch.from_numpy(np.array(params["trunk"])))
      for t, head in zip(TASKS, np.array(params["heads"]), strict=True):
        decoders[t].weight.copy_(torch.from_numpy(head.T.copy()))
    x, y = (torch.from_numpy(v) for v in batch[:2])
    optimizer.zero_grad(set_to_none=False)
    outputs = _with_representation(model, decoders, x) if model.rep_grad else model(x)
    found = [((outputs[t] - y[i]) ** 2).mean() * SCALES[i] for i, t in enumerate(TASKS)]
    losses = torch.stack(found)
    seen.append(losses.detach().numpy().copy())
    model.backward(losses, **options)
    grads = {
      "trunk": model.encoder.weight.grad.numpy().copy(),
      "heads": np.stack([decoders[t].weight.grad.numpy().T for t in TASKS]).copy(),
    }
    optimizer.step()  # of their own scales; parameters are set anew
    return grads

  return step


def _with_representation(model: Any, decoders: Any, x: Any) -> dict[str, Any]:
  encoded = model.encoder(x)  # one for all tasks, as GradDrop needs it
  return {t: decoders[t](model._prepare_rep(encoded, t, True)) for t in TASKS}


def give_draws(name: str, state: Any, key: jax.Array, metrics: Any) -> None:
  """Lets LibMTL draw what ours drew in the step from `state`."""
  import torch

  if name in ("PCGrad", "GradVac"):
    use = jax.random.split(state.aggregator.key)[1]
    orders = iter(np.array(draw_orders(use, 3)).tolist())

    def shuffle(found: list[int]) -> None:
      found[:] = [task for task in next(orders) if task in found]

    random.shuffle = shuffle  # type: ignore[assignment]
  elif name == "RLW":
    logs = torch.from_numpy(np.log(np.array(metrics["weights"])))
    torch.distributions.normal.Normal.sample = lambda self: logs  # type: ignore[method-assign]
  elif name == "GradDrop":
    draw = jax.random.uniform(key, (UNITS,), jnp.float32)
    torch.rand_like = lambda like: torch.from_numpy(np.array(draw, float))


def first_params() -> dict[str, jax.Array]:
  """Of the trunk and the heads."""
  rng = np.random.default_rng(1)
  return {
    "trunk": jnp.asarray(rng.normal(size=(INPUTS, UNITS)) / 2),
    "heads": jnp.asarray(rng.normal(size=(3, UNITS, OUTPUTS)) / 2),
  }


def batches() -> Iterator[tuple[np.ndarray, np.ndarray, jax.Array]]:
  """Inputs, targets and a key a step."""
  rng = np.random.default_rng(0)
  for count in range(STEPS):
    yield (
      rng.normal(size=(BATCH, INPUTS)),
      rng.normal(size=(3, BATCH, OUTPUTS)),
      jax.random.key(count),
    )


def side_by_side(name: str) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
  """Our gradients and theirs at each step."""
  step, gradients = ours(name)
  their_step = theirs(name)
  state = step.init(first_params(), jax.random.key(0))
  found = []
  for batch in batches():
    grads, new, metrics = gradients(state, batch)
    give_draws(name, state, batch[2], metrics)
    found.append((jax.tree.map(np.array, grads), their_step(state.params, batch)))
    state = new
  return found


def main(config: Config) -> None:
  """Print a row a method."""
  let_libmtl_in()
  print("| LibMTL | trunk: cosine | length | heads: cosine | length |\n|" + " --- |" * 5)
  golden = {}
  for name in METHODS:
    steps = side_by_side(name)
    cells = []
    for part in ("trunk", "heads"):
      pairs = [(np.ravel(a[part]), np.ravel(b[part])) for a, b in steps]
      sizes = [(np.linalg.norm(a), np.linalg.norm(b)) for a, b in pairs]
      cosine = min(a @ b / (m * n) for (a, b), (m, n) in zip(pairs, sizes, strict=True))
      ratios = [m / n for m, n in sizes]
      cells += [f"{cosine:.6f}", f"{min(ratios):.5f} to {max(ratios):.5f}"]
      golden[f"{name} {part}"] = np.stack([steps[i][1][part] for i in KEPT])
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
  if config.golden:
    np.savez_compressed(config.golden, **golden)


if __name__ == "__main__":
  with jax.enable_x64(True):
    main(tyro.cli(Config))
