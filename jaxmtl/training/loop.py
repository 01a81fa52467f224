"""The training loop: steps, evaluation, checkpoints, metrics, progress, and a guard for NaN."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmtl.training.best import BestWeights
from jaxmtl.training.checkpoint import Checkpointer
from jaxmtl.training.finite import not_finite
from jaxmtl.training.progress import Progress
from jaxmtl.training.stop import Stopped, stop_requested
from jaxmtl.training.writer import MetricsWriter

PyTree = Any
_MEND = "lower the learning rate, or clip gradients with optax.clip_by_global_norm"
Every = int | str
"""How often: a number of epochs, or of steps as in `"500 steps"`."""


class TrainingDiverged(FloatingPointError):
  """A loss, the gradient or the network stopped being finite."""


class Fitted(NamedTuple):
  """What training gave.

  Attributes:
    state: the last one.
    history: one row of numbers by name each time something was logged, the first epoch first; of a
      run that went on, with what was logged before.
  """

  state: PyTree
  history: list[dict[str, Any]]


def fit(
  state: PyTree,
  run_epoch: Callable[[PyTree], tuple[PyTree, dict[str, Any]]],
  num_epochs: int,
  *,
  steps_per_epoch: int | None = None,
  first_step: int = 0,
  evaluate: Callable[[PyTree], dict[str, Any]] | None = None,
  after_epoch: Callable[[PyTree, dict[str, Any]], tuple[PyTree, dict[str, Any]]] | None = None,
  writer: MetricsWriter | None = None,
  checkpointer: Checkpointer | None = None,
  best: BestWeights | None = None,
  patience: Every | None = None,
  checkpoint_every: Every = 1,
  evaluate_every: Every = 1,
  log_every: Every = 1,
  task_names: Sequence[str] | None = None,
  description: str = "training",
  progress: bool = True,
) -> Fitted:
  """Runs epochs, and checks, evaluates, writes and saves as often as asked for.

  What is to be done every so many steps is done after the call in which that number is passed.

  Args:
    state: a `TrainState`, or several stacked by `jax.vmap`.
    run_epoch: `state -> (state, metrics)`, metrics stacked over the steps; compiled by the caller.
      Where an epoch takes several calls, `steps_per_epoch` must be given.
    num_epochs: the last epoch, counted from 1.
    steps_per_epoch: steps of an epoch; as many as a call takes where None.
    first_step: how many steps the state has behind it, as `Checkpointer.restore` says.
    evaluate: `state -> metrics`, numbers by name (or nested); after each epoch by default.
    after_epoch: `(state, what evaluate gave) -> (state, metrics)` at the end of every epoch, for
      what changes with it: a plateau's learning rate, pseudo labels.
    writer: gets a row each time something is logged: the means over the steps since the row before,
      and the evaluation.
    checkpointer: saves the state, under the number of its steps, and the last one.
    best: keeps the weights of the best evaluation.
    patience: epochs, or steps as in `"500 steps"`, after which training ends where no run had an
      evaluation that is better than its best; None for all epochs. It needs `best`.
    checkpoint_every: epochs, or steps as in `"500 steps"`.
    evaluate_every: the same, for `evaluate`.
    log_every: the same, for rows; an evaluation makes a row in any case.
    task_names: for messages, in the order of the losses.
    description: shown beside the progress bar.
    progress: whether to show a bar with the time left, or a line a minute where there is no
      terminal.

  Returns:
    The last state and the history: rows with `step`, `epoch`, `seconds` (of the steps alone).
    The best weights are in `best`'s file.

  Raises:
    TrainingDiverged: if a loss or gradient is not finite; names the step and the loss. Or if
      parameters or the model's state are not, where they are to be evaluated, saved or given back;
      names them. The last checkpoint, of the last steps that were finite throughout, stays.
    Stopped: if asked to stop within `stop_on_signal`, after a checkpoint.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxmtl.training import Aux, fit, scan_epoch, train_step
    >>> def losses_fn(params, model_state, batch, key):
    ...   return jnp.mean((params - batch) ** 2)[None], Aux()
    >>> step = train_step(losses_fn, optax.sgd(0.2), 1)
    >>> epoch = jax.jit(scan_epoch(step.update, batch_size=4))
    >>> state = step.init(jnp.zeros(()), jax.random.key(0))
    >>> fitted = fit(state, lambda s: epoch(s, jnp.ones(8)), 10, progress=False)
    >>> round(float(fitted.state.params), 2), fitted.history[-1]["step"]
    (1.0, 20)
  """
  history: list[dict[str, Any]] = writer.rows if writer else []
  step, saved, pending, seconds = first_step, first_step, [], 0.0
  total = None if steps_per_epoch is None else num_epochs * steps_per_epoch
  if total is None and first_step == 0 and num_epochs == 0:
    return Fitted(state, history)
  if patience is not None and best is None:
    raise ValueError(f"patience={patience!r} needs best, which says what a better evaluation is.")
  borne = frozenset(not_finite(state))
  bar: Progress | None = None
  status = ""

  def waited() -> bool:
    """Whether there was no better evaluation for long; the file tells, after a restart too."""
    if best is None or patience is None or steps_per_epoch is None:
      return False
    return best.waited(step) >= in_steps(patience, steps_per_epoch)

  try:
    while total is None or (step < total and not waited()):
      started = time.perf_counter()
      state, metrics = run_epoch(state)
      metrics = jax.device_get(metrics)
      seconds += time.perf_counter() - started
      check_finite(metrics, first_step=step, task_names=task_names)
      axis = _step_axis(metrics)
      before, step = step, step + next(iter(metrics.values())).shape[axis]
      if total is None or steps_per_epoch is None:
        # An epoch a call: a state that goes on has whole epochs behind it.
        steps_per_epoch = step - before
        total = num_epochs * steps_per_epoch
      if bar is None:
        bar = Progress(description, total, steps_per_epoch, before, progress).__enter__()
      pending.append(metrics)

      due = functools.partial(_due, before=before, step=step, total=total, per=steps_per_epoch)
      row: dict[str, Any] = {}
      evaluates = evaluate is not None and due(evaluate_every)
      if evaluate is not None and evaluates:
        row |= jax.device_get(evaluate(state))
      if after_epoch is not None and step % steps_per_epoch == 0:
        state, found = after_epoch(state, row)
        row |= jax.device_get(found)
      stopping = stop_requested() and step < total
      saves = checkpointer is not None and (due(checkpoint_every) or stopping)
      if saves or evaluates or step >= total:
        check_state(state, step, borne)
      # What is saved has its row, so that going on repeats and loses none.
      if row or saves or due(log_every):
        epoch = step / steps_per_epoch
        means = _means(pending, axis)
        number = int(epoch) if epoch == int(epoch) else epoch
        row = {"epoch": number, "step": step, "seconds": seconds, **means, **row}
        pending, seconds = [], 0.0
        if writer:
          writer.write(row)
        else:
          history.append(row)
        if best and evaluates:
          best.update(state, row)
      status = _status(metrics) or status
      bar.update(step, status)
      if checkpointer and (saves or (evaluates and waited())):
        checkpointer.save(step, state)
        saved = step
      if stopping:
        if checkpointer:
          checkpointer.wait()
        where = f"after step {saved} (epoch {saved / steps_per_epoch:.3g} of {num_epochs})"
        raise Stopped(f"{description} was stopped {where}.")
  finally:
    if bar is not None:
      bar.__exit__(None, None, None)
  if checkpointer:
    checkpointer.wait()
  return Fitted(state, history)


def check_state(state: PyTree, step: int, borne: Collection[str] = ()) -> None:
  """Raises where parameters or a model's state are not finite.

  Args:
    state: a `TrainState`, several in any structure, or arrays, all of which are looked at.
    step: how many steps it has behind it.
    borne: paths of arrays that need not be finite, such as those that were not at the start.

  Raises:
    TrainingDiverged: naming the arrays.
  """
  if bad := [name for name in not_finite(state) if name not in borne]:
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    raise TrainingDiverged(
      f"{', '.join(bad[:3])}{more} of the state {'are' if len(bad) > 1 else 'is'} not finite after "
      f"step {step}; {_MEND}. The last good checkpoint stays."
    )


def _due(every: Every, *, before: int, step: int, total: int, per: int) -> bool:
  """Whether a multiple of the cadence was passed, or the end reached."""
  cadence = in_steps(every, per)
  return step // cadence > before // cadence or step >= total


def _step_axis(metrics: dict[str, Any]) -> int:
  """Leading axes are seeds, where there are any; the step axis follows them."""
  if "losses" in metrics:
    return metrics["losses"].ndim - 2
  return min(np.ndim(value) for value in metrics.values()) - 1


def _status(metrics: dict[str, Any]) -> str:
  return f"loss {np.mean(np.sum(metrics['losses'], -1)):.4g}" if "losses" in metrics else ""


def _means(metrics: Sequence[dict[str, Any]], axis: int) -> dict[str, Any]:
  """Over the steps of several calls, which need not have all the same metrics."""
  names = dict.fromkeys(name for found in metrics for name in found)
  return {
    name: np.mean(np.concatenate([m[name] for m in metrics if name in m], axis), axis)
    for name in names
  }


def in_steps(every: Every, steps_per_epoch: int) -> int:
  """A cadence in steps.

  Args:
    every: epochs, or steps as in `"500 steps"`.
    steps_per_epoch: so many are an epoch.

  Raises:
    ValueError: if it is neither, or below 1.

  Example:
    >>> from jaxmtl.training.loop import in_steps
    >>> in_steps(2, 30), in_steps("500 steps", 30), in_steps("2", 30)
    (60, 500, 60)
  """
  number, _, unit = str(every).strip().partition(" ")
  try:
    count = int(number)
  except ValueError:
    count = 0
  if count < 1 or unit.strip() not in ("", "step", "steps", "epoch", "epochs"):
    raise ValueError(
      f"a cadence is a number of epochs, such as 2, or of steps, such as '500 steps', at least 1, "
      f"got {every!r}."
    )
  return count if unit.strip().startswith("step") else count * steps_per_epoch


def check_finite(
  metrics: dict[str, Any], *, first_step: int = 0, task_names: Sequence[str] | None = None
) -> None:
  """Raises where a loss or gradient norm is not finite.

  Args:
    metrics: `losses` `[..., steps, T]` and, optionally, `gradient_norm` `[..., steps]`; without
      losses, such as those of a label network, anything.
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
  if "losses" not in metrics:
    wrong = [name for name, value in metrics.items() if not np.isfinite(value).all()]
    if wrong:
      raise TrainingDiverged(f"{', '.join(wrong)} stopped being finite after step {first_step}.")
    return
  losses = metrics["losses"]
  if isinstance(losses, Mapping):  # by name
    task_names, losses = list(losses), np.stack([np.asarray(x) for x in losses.values()], axis=-1)
  losses = np.asarray(losses)
  names = list(task_names) if task_names else [str(i) for i in range(losses.shape[-1])]
  axis = losses.ndim - 2
  bad = np.argwhere(~np.isfinite(losses))
  if len(bad):
    first = min(bad.tolist(), key=lambda index: index[axis])
    seed = f" of seed {first[0]}" if axis else ""
    raise TrainingDiverged(
      f"the loss of task {names[first[-1]]!r} is {losses[tuple(first)]} at step "
      f"{first_step + first[axis]}{seed}; {_MEND}. The last good checkpoint stays."
    )
  if "gradient_norm" in metrics:
    bad = np.argwhere(~np.isfinite(np.asarray(metrics["gradient_norm"])))
    if len(bad):
      step = first_step + min(index[axis] for index in bad.tolist())
      raise TrainingDiverged(
        f"the gradient is not finite at step {step} while all losses are; {_MEND}. The last good "
        "checkpoint stays."
      )
