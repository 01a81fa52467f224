"""The training loop: epochs, evaluation, checkpoints, metrics, progress, and a guard for NaN."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import rich.progress

from jaxmtl.training.checkpoint import Checkpointer
from jaxmtl.training.metrics import MetricsWriter

PyTree = Any


class TrainingDiverged(FloatingPointError):
  """A loss or the gradient stopped being finite."""


def fit(
  state: PyTree,
  run_epoch: Callable[[PyTree], tuple[PyTree, dict[str, Any]]],
  num_epochs: int,
  *,
  first_epoch: int = 0,
  evaluate: Callable[[PyTree], dict[str, Any]] | None = None,
  writer: MetricsWriter | None = None,
  checkpointer: Checkpointer | None = None,
  checkpoint_every: int = 1,
  task_names: Sequence[str] | None = None,
  description: str = "training",
  progress: bool = True,
) -> PyTree:
  """Runs epochs, and after each one checks, evaluates, writes and saves.

  Args:
    state: a `TrainState`, or several stacked by `jax.vmap`.
    run_epoch: `state -> (state, metrics)`, metrics stacked over the steps; compiled by the caller.
    num_epochs: the last epoch, counted from 1.
    first_epoch: how many epochs the state has behind it, as `Checkpointer.restore` says.
    evaluate: `state -> metrics`, after each epoch.
    writer: gets one row an epoch: the means over the steps and the evaluation.
    checkpointer: saves the state every `checkpoint_every` epochs and after the last.
    checkpoint_every: epochs between checkpoints.
    task_names: for messages, in the order of the losses.
    description: shown beside the progress bar.
    progress: whether to show the bar with the time left.

  Returns:
    The last state.

  Raises:
    TrainingDiverged: if a loss or gradient is not finite; names the step and the loss. The last
      checkpoint, of the last epoch that was finite throughout, stays.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxmtl.training import Aux, fit, scan_epoch, train_step
    >>> def losses_fn(params, model_state, batch, key):
    ...   return jnp.mean((params - batch) ** 2)[None], Aux()
    >>> step = train_step(losses_fn, optax.sgd(0.2), 1)
    >>> epoch = jax.jit(scan_epoch(step.update, batch_size=4))
    >>> state = step.init(jnp.zeros(()), jax.random.key(0))
    >>> state = fit(state, lambda s: epoch(s, jnp.ones(8)), 10, progress=False)
    >>> round(float(state.params), 2)
    1.0
  """
  columns = (
    rich.progress.TextColumn("{task.description}"),
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TextColumn("epochs, left"),
    rich.progress.TimeRemainingColumn(),
    rich.progress.TextColumn("{task.fields[status]}"),
  )
  bar = rich.progress.Progress(*columns, disable=not progress)
  with bar if progress else contextlib.nullcontext():
    shown = bar.add_task(description, total=num_epochs, completed=first_epoch, status="")
    for epoch in range(first_epoch + 1, num_epochs + 1):
      started = time.perf_counter()
      first_step = _steps(state)  # before the call: it may donate the state
      state, metrics = run_epoch(state)
      metrics = jax.device_get(metrics)
      seconds = time.perf_counter() - started
      check_finite(metrics, first_step=first_step, task_names=task_names)
      # Leading axes are seeds, where there are any; the step axis follows them.
      axis = metrics["losses"].ndim - 2
      row = {name: np.mean(value, axis=axis) for name, value in metrics.items()}
      row |= jax.device_get(evaluate(state)) if evaluate else {}
      if writer:
        writer.write({"epoch": epoch, "seconds": seconds, **row})
      if checkpointer and (epoch % checkpoint_every == 0 or epoch == num_epochs):
        checkpointer.save(epoch, state)
      status = f"loss {np.mean(row['losses'].sum(-1)):.4g}"
      bar.update(shown, advance=1, status=status)
  if checkpointer:
    checkpointer.wait()
  return state


def check_finite(
  metrics: dict[str, Any], *, first_step: int = 0, task_names: Sequence[str] | None = None
) -> None:
  """Raises where a loss or gradient norm is not finite.

  Args:
    metrics: `losses` `[..., steps, T]` and, optionally, `gradient_norm` `[..., steps]`.
    first_step: number of the first of these steps.
    task_names: T names, for the message.

  Raises:
    TrainingDiverged: naming the first such step and the loss.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.training.loop import check_finite
    >>> check_finite({"losses": np.array([[1.0, 2.0], [1.0, np.nan]])}, task_names=["a", "b"])
    Traceback (most recent call last):
      ...
    jaxmtl.training.loop.TrainingDiverged: the loss of task 'b' is nan at step 1; ...
  """
  losses = np.asarray(metrics["losses"])
  names = list(task_names) if task_names else [str(i) for i in range(losses.shape[-1])]
  axis = losses.ndim - 2
  mend = "lower the learning rate, or clip gradients with optax.clip_by_global_norm"
  bad = np.argwhere(~np.isfinite(losses))
  if len(bad):
    first = min(bad.tolist(), key=lambda index: index[axis])
    seed = f" of seed {first[0]}" if axis else ""
    raise TrainingDiverged(
      f"the loss of task {names[first[-1]]!r} is {losses[tuple(first)]} at step "
      f"{first_step + first[axis]}{seed}; {mend}. The last good checkpoint stays."
    )
  if "gradient_norm" in metrics:
    bad = np.argwhere(~np.isfinite(np.asarray(metrics["gradient_norm"])))
    if len(bad):
      step = first_step + min(index[axis] for index in bad.tolist())
      raise TrainingDiverged(
        f"the gradient is not finite at step {step} while all losses are; {mend}. The last good "
        "checkpoint stays."
      )


def _steps(state: PyTree) -> int:
  return int(np.asarray(getattr(state, "step", 0)).ravel()[0])
