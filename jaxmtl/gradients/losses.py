"""Task losses as one array `[T]`, from whatever a `losses_fn` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

_MEND = "reduce each task's loss over the batch, for example with .mean(), and stack the results."


def stack_losses(losses: Any) -> jax.Array:
  """Task losses as an array `[T]`; those of a dict in the order of its sorted names.

  Args:
    losses: float array `[T]`, or a dict or list of float scalars.

  Returns:
    float `[T]`.

  Raises:
    ValueError: if they are not one floating-point scalar a task, or there is none.

  Example:
    >>> from jaxmtl.gradients import stack_losses
    >>> stack_losses({"segmentation": 2.0, "depth": 1.0}).tolist()
    [1.0, 2.0]
  """
  if isinstance(losses, Mapping):
    losses = [_scalar(f"losses[{name!r}]", losses[name]) for name in sorted_names(losses)]
  elif isinstance(losses, list):
    losses = [_scalar(f"losses[{i}]", loss) for i, loss in enumerate(losses)]
  elif isinstance(losses, tuple):
    raise ValueError(
      f"losses_fn returned a tuple of {len(losses)}: pass has_aux=True if it is (losses, aux), or "
      "return the losses as a list, a dict or an array [T]."
    )
  if isinstance(losses, list):
    losses = jnp.stack(losses) if losses else jnp.zeros(0)
  elif losses is None:
    raise ValueError(f"losses must have shape [T], one scalar a task, got None; {_MEND}")
  losses = jnp.asarray(losses)
  if losses.ndim != 1:
    raise ValueError(
      f"losses must have shape [T], one scalar a task, got {losses.shape}; {_MEND} Is it "
      "(losses, aux)? Then pass has_aux=True."
    )
  if losses.size == 0:
    raise ValueError("losses has shape (0,): there are no tasks; return at least one loss.")
  _check_float("losses", losses)
  return losses


def sorted_names(by_task: Mapping[str, Any]) -> list[str]:
  """The names of tasks in the order of their losses, or a clear error where they are no names."""
  wrong = [name for name in by_task if not isinstance(name, str)]
  if wrong:
    raise ValueError(f"tasks are named by strings, got {wrong[0]!r} among {list(by_task)}.")
  return sorted(by_task)


def _scalar(name: str, loss: Any) -> jax.Array:
  if loss is None or isinstance(loss, (Mapping, list, tuple, str)):
    raise ValueError(f"{name} must be one scalar, got {type(loss).__name__}; {_MEND}")
  loss = jnp.asarray(loss)
  if loss.shape:
    raise ValueError(
      f"{name} has shape {loss.shape}; every task needs one scalar loss: reduce it over the "
      "batch, for example with .mean()."
    )
  _check_float(name, loss)
  return loss


def _check_float(name: str, loss: jax.Array) -> None:
  # An integer loss has a zero gradient, whatever it depends on.
  if not jnp.issubdtype(loss.dtype, jnp.floating):
    raise ValueError(f"{name} must be floating point to be differentiated, got {loss.dtype}.")
