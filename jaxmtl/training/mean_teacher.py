"""A teacher whose parameters are the running average of its student's."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards

PyTree = Any


class Teacher(NamedTuple):
  """A mean teacher.

  Attributes:
    params: of the teacher, as the student's.
    model_state: its statistics, such as `{"batch_stats": ...}`.
    updates: how many it has had, int32.
  """

  params: PyTree
  model_state: PyTree
  updates: jax.Array

  @property
  def variables(self) -> dict[str, Any]:
    """What `apply` of a Linen module takes."""
    return {"params": self.params, **self.model_state}


def mean_teacher(params: PyTree, model_state: PyTree = None) -> Teacher:
  """A teacher that is its student's copy.

  Args:
    params: of the student.
    model_state: its collections beside the parameters, by name; None for none.

  Returns:
    The teacher, to be kept in the training state.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training import mean_teacher, update_teacher
    >>> teacher = mean_teacher({"w": jnp.array(0.0)})
    >>> for w in (1.0, 2.0):
    ...   teacher = update_teacher(teacher, {"w": jnp.array(w)})
    >>> float(teacher.params["w"])
    1.5

  Reference: Tarvainen and Valpola, "Mean Teachers Are Better Role Models", 2017, section 2.
  """
  state = {} if model_state is None else dict(model_state)
  # Copies: a step that donates the student's memory must not take the teacher's with it.
  own, kept = jax.tree.map(jnp.copy, (params, state))
  return Teacher(own, kept, jnp.zeros((), jnp.int32))


def update_teacher(
  teacher: Teacher,
  params: PyTree,
  model_state: PyTree = None,
  *,
  decay: float = 0.99,
  warm_up: bool = True,
) -> Teacher:
  r"""Move a teacher towards its student.

  .. math:: \theta'_t = a_t \theta'_{t-1} + (1 - a_t) \theta_t, \qquad a_t = \min(1 - 1/(t+1), a)

  Args:
    teacher: as it was.
    params: of the student, after its step.
    model_state: statistics of the student, which are averaged into the teacher's like parameters;
      None: the teacher keeps its own, those of its forward passes in training mode, which
      `teacher._replace(model_state=...)` puts in.
    decay: a, in [0, 1): the nearer to 1, the longer the average, about 1 / (1 - a) updates.
    warm_up: whether the decay grows from 0, as above, so that the first update copies the student
      and the first steps are soon forgotten; else it is a from the start.

  Returns:
    The teacher after this update.

  Raises:
    ValueError: if the decay is out of range, or the trees differ.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.training import mean_teacher, update_teacher
    >>> teacher = mean_teacher(jnp.array(0.0))
    >>> float(update_teacher(teacher, jnp.array(1.0), decay=0.75, warm_up=False).params)
    0.25

  Reference: as of `mean_teacher`; Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation
  with Regional Contrast", 2022, section 4.
  """
  if not guards.is_traced(decay) and not 0 <= decay < 1:
    raise ValueError(f"decay must be in [0, 1), got {decay}.")
  _check_like("params", teacher.params, params)
  if model_state is not None:
    _check_like("model_state", teacher.model_state, dict(model_state))
  kept: Any = jnp.asarray(decay, jnp.float32)
  if warm_up:
    kept = jnp.minimum(1 - 1 / (teacher.updates.astype(jnp.float32) + 1), kept)

  def average(old: jax.Array, new: jax.Array) -> jax.Array:
    new = jnp.asarray(new)
    if not jnp.issubdtype(jnp.result_type(old), jnp.inexact):
      return new  # counters are the student's
    # In bfloat16 a decay of .99 would be .9883 or .9922.
    wide = jnp.promote_types(old.dtype, jnp.float32)
    return (kept * old.astype(wide) + (1 - kept) * new.astype(wide)).astype(old.dtype)

  moved = jax.tree.map(average, teacher.params, params)
  state = teacher.model_state
  if model_state is not None:
    state = jax.tree.map(average, state, dict(model_state))
  return Teacher(moved, state, teacher.updates + 1)


def _check_like(name: str, old: PyTree, new: PyTree) -> None:
  """Raises unless two trees have the same leaves of the same shapes."""
  same: Any = jax.tree.structure(old)
  if jax.tree.structure(new) != same:
    raise ValueError(f"{name} must be a tree like the teacher's, got another student's.")
  found = jax.tree_util.tree_leaves_with_path(new)
  for (path, leaf), own in zip(found, jax.tree.leaves(old), strict=True):
    if jnp.shape(leaf) != jnp.shape(own):
      where = name + jax.tree_util.keystr(path)
      raise ValueError(f"{where} must have the teacher's shape {jnp.shape(own)}, got {leaf.shape}.")
