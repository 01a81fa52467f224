"""What experiments share: seeds trained together, resumed training, accuracies, command lines."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxmtl import data, models, training

# Initialisation runs once: compiling it without optimisation takes a fifth of the time.
_ONCE = {"xla_backend_optimization_level": 0}


def init_seeds(
  init: Callable[..., Any], first_seed: int, num_seeds: int, *args: Any, repeat: int = 1
) -> Any:
  """Runs `init(key, *args)` for every seed, with arguments that have a leading axis of seeds.

  With `repeat` the seeds come round so often, for several settings one after the other.
  """
  keys = jax.vmap(jax.random.key)(jnp.tile(jnp.arange(num_seeds) + first_seed, repeat))
  return jax.jit(jax.vmap(init), compiler_options=_ONCE)(keys, *args)


def fit_or_go_on(
  home: pathlib.Path,
  identity: dict[str, Any],
  state: Any,
  run_epoch: Callable[[Any], Any],
  num_epochs: int,
  *,
  name: str,
  **options: Any,
) -> tuple[Any, list[dict[str, Any]]]:
  """`training.fit` with metrics and checkpoints in a folder, from which it goes on.

  Args:
    home: the folder.
    identity: what must be the same when training goes on.
    state: the fresh state.
    run_epoch: as in `training.fit`, and so is `num_epochs`.
    num_epochs: the last epoch.
    name: of the run, for progress and messages.
    **options: of `training.fit`.

  Returns:
    The last state, and the rows of `metrics.jsonl`, one an epoch.

  Raises:
    training.TrainingDiverged: if a loss stops being finite.
    ValueError: if the folder holds checkpoints of another configuration.
  """
  # JSON turns tuples into lists; so must the configuration that a checkpoint's is compared with.
  identity = json.loads(json.dumps(identity))
  with training.Checkpointer(home / "checkpoints", identity) as checkpointer:
    restored = checkpointer.restore(state)
    first, state = restored if restored else (0, state)
    with training.MetricsWriter(home, resume_from=first) as writer:
      per_epoch = writer.rows[-1]["step"] // writer.rows[-1]["epoch"] if writer.rows else None
      if first:
        epoch = first // (per_epoch or 1)
        print(f"{name}: goes on after epoch {epoch} of {num_epochs} ({home})")
      state, _ = training.fit(
        state,
        run_epoch,
        num_epochs,
        first_step=first,
        steps_per_epoch=per_epoch,
        writer=writer,
        checkpointer=checkpointer,
        description=name,
        **options,
      )
      return state, writer.rows


def create_backbone(name: str, width: float | None, **options: Any) -> nn.Module:
  """A backbone of a width from the command line: without decimals it is a number of channels."""
  if width is not None:
    options["width"] = int(width) if width == int(width) else width
  return models.create(name, **options)


def ms_per_step(history: list[dict[str, Any]], steps_per_epoch: int) -> float:
  """The median over epochs of the time a step, without the first epoch, which compiles."""
  seconds = [row["seconds"] for row in history[1:]] or [history[-1]["seconds"]]
  return 1000 * float(np.median(seconds)) / steps_per_epoch


def accuracy_fn(
  predict: Callable[[Any, jax.Array], Mapping[str, jax.Array]], batch_size: int = 250
) -> Callable[[Any, np.ndarray, Mapping[str, np.ndarray]], dict[str, jax.Array]]:
  """Counts right answers on whole data sets.

  Args:
    predict: `(variables, images) -> logits [batch, classes] by task`, of one seed.
    batch_size: images at a time, at most.

  Returns:
    `(variables, images, labels by task) -> accuracy by task`, `[seeds]` in 0..1, for variables with
    a leading axis of seeds; compiled once a shape.
  """

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None, None, None))
  def count(variables: Any, images: Any, targets: Any, valid: Any) -> dict[str, jax.Array]:
    logits = predict(variables, images)
    return {t: jnp.sum((logits[t].argmax(-1) == y) & valid) for t, y in targets.items()}

  def accuracy(
    variables: Any, images: np.ndarray, labels: Mapping[str, np.ndarray]
  ) -> dict[str, jax.Array]:
    tasks = list(labels)
    stacked = np.stack([labels[t] for t in tasks], axis=1)
    cut = data.eval_batches(images, stacked, min(batch_size, len(images)))
    # One batch a call, so that parts of all sizes share the compiled function.
    counts = [
      count(variables, batch, dict(zip(tasks, targets.T, strict=True)), valid)
      for batch, targets, valid in zip(*cut, strict=True)
    ]
    return {t: sum(c[t] for c in counts) / len(images) for t in tasks}

  return accuracy


def write_config(folder: pathlib.Path, config: Any, *, replace: bool) -> None:
  """Writes config.json; where not to be replaced, one of an earlier run stays."""
  path = folder / "config.json"
  folder.mkdir(parents=True, exist_ok=True)
  if replace or not path.exists():
    path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def command_line(
  run: Callable[[Any], Any], presets: Mapping[str, Any], prog: str, args: list[str] | None
) -> None:
  """Runs an experiment with options from the command line.

  Args:
    run: the experiment, of one configuration.
    presets: configurations by the name that `--preset` takes, the default one first.
    prog: the command, for its help.
    args: instead of the process' arguments.

  Raises:
    SystemExit: with one line, where options do not fit, data are missing or training diverges.
  """
  parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  parser.add_argument("--preset", choices=list(presets), default=next(iter(presets)))
  chosen = presets[parser.parse_known_args(args)[0].preset]
  config = tyro.cli(type(chosen), default=chosen, args=args, prog=prog)
  started = time.perf_counter()
  try:
    run(config)
  except (ValueError, FileNotFoundError, training.TrainingDiverged) as error:
    raise SystemExit(f"error: {error}") from error
  print(f"{time.perf_counter() - started:.0f} s in all.")
