"""The Gramian and the norms of task gradients, at any scale.

Task gradients are a pytree with leaves `[T, *shape]`; `G[i, j] = <g_i, g_j>` sums over all leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmtl._platform import on_cpu, on_tpu
from jaxmtl.gradients.real_view import as_real, real_view

PyTree = Any

# Squared norms between this and its inverse leave room for sums and products in float32.
_SAFE_SQUARE = 1e-15
# Entries of a block of task gradients on CPU, and its columns at least.
_BLOCK, _COLUMNS = 40960, 2048
# So many rows on accelerators are multiplied and summed pair by pair.
_FEW_TASKS, _FEW_ON_TPU = 3, 8


def task_count(task_grads: PyTree) -> int:
  """The length T of the task axis that all leaves share; raises where they do not."""
  shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(task_grads)]
  counts = {shape[0] if shape else None for shape in shapes}
  if len(counts) != 1 or None in counts:
    raise ValueError(
      f"task gradients need the same leading task axis on every leaf, got shapes {shapes[:4]}; "
      "make them with jaxmtl.task_value_and_grad."
    )
  return counts.pop()  # type: ignore[return-value]


def gramian(task_grads: PyTree, other: PyTree | None = None) -> jax.Array:
  r"""Inner products of the task gradients, summed over all leaves.

  .. math:: G_{ij} = \langle g_i, g_j \rangle

  Args:
    task_grads: pytree with leaves `[T, *shape]`.
    other: task gradients h of the same shapes for `<g_i, h_j>`, as of another batch.

  Returns:
    `[T, T]`, in float32 or, where a leaf is wider, that type; of complex gradients the real part of
    <conj(g_i), g_j>.

  Raises:
    ValueError: if the leaves have no common task axis.

  Example:
    >>> import jax.numpy as jnp
    >>> import jaxmtl
    >>> jaxmtl.gramian({"w": jnp.array([[3.0, 4.0], [0.0, 1.0]])}).tolist()
    [[25.0, 4.0], [4.0, 1.0]]
  """
  num_tasks = task_count(task_grads)
  total = jnp.zeros((num_tasks, num_tasks), accumulator_dtype(task_grads))
  seconds = jax.tree.leaves(task_grads if other is None else other)
  for leaf, second in zip(jax.tree.leaves(task_grads), seconds, strict=True):
    total += inner_products(as_real(leaf), as_real(second), total.dtype)
  return total


def factor_precision(factors: jax.Array) -> jax.lax.Precision:
  """How exactly the factors of task gradients, a layer's inputs and cotangents, are multiplied.

  On CPU exactly. On accelerators nearly as the backward passes that explicit task gradients would
  come from: TF32 on GPU, three passes of bfloat16 on TPU. Measured on an H200 (1024 inputs, layer
  4096x4096, 8 tasks), exact products take 2.2 ms, these .7, with errors of 8e-6 in the Gramian;
  explicit task gradients, themselves of TF32, 1.6 ms and 5e-6.
  """
  wanted = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
  exact = wanted in ("highest", "float32") or on_cpu(factors)
  return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.HIGH


def inner_products(rows: jax.Array, columns: jax.Array, dtype: jnp.dtype) -> jax.Array:
  """Inner products `[T, T]` of the rows of two `[T, *shape]`, accumulated in `dtype`."""
  cpu, tpu = on_cpu(rows, columns), on_tpu(rows, columns)
  if not cpu and rows.shape[0] <= (_FEW_ON_TPU if tpu else _FEW_TASKS) and dtype == jnp.float32:
    # A matrix product fills tiles of 32 rows; sums side by side read the memory once. Measured on
    # an H200 at 17 million columns: .086 ms against .163 for 3 rows, but .62 against .29 for 8.
    # A TPU's product takes rows in another order than the backward pass writes them: they would be
    # copied first.
    return _pair_by_pair(rows, columns, dtype, together=tpu)
  rows, columns = (x.reshape(x.shape[0], -1) for x in (rows, columns))

  def product(first: jax.Array, second: jax.Array) -> jax.Array:
    return jax.lax.dot_general(
      first,
      second,
      (((1,), (1,)), ((), ())),
      precision=jax.lax.Precision.HIGHEST,
      preferred_element_type=dtype,
    )

  width = max(_COLUMNS, 2 ** round(math.log2(_BLOCK / rows.shape[0])))
  blocks = rows.shape[1] // width
  if not cpu or blocks < 2:
    return product(rows, columns)
  # XLA's CPU backend is 3 to 7 times faster on blocks that stay in the cache (measured at 3 million
  # columns: 163 against 24 ms for 3 rows, 300 against 60 for 8, 1034 against 303 for 20). Of 1024
  # to 16384 columns these were the fastest for 3, 8, 20 and 40 rows, by up to a fifth each way.

  def block(matrix: jax.Array, i: jax.Array | int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(matrix, i * width, width, axis=1)

  def add(i: jax.Array, total: jax.Array) -> jax.Array:
    return total + product(block(rows, i), block(columns, i))

  total = jax.lax.fori_loop(1, blocks, add, product(block(rows, 0), block(columns, 0)))
  return total + product(rows[:, blocks * width :], columns[:, blocks * width :])


def _pair_by_pair(
  rows: jax.Array, columns: jax.Array, dtype: jnp.dtype, together: bool
) -> jax.Array:
  """Each inner product by itself, of rows with themselves each two once; as one sum if `together`.

  As many sums, XLA's TPU backend reads memory several times.
  """
  places = range(rows.shape[0])
  pairs = [(i, j) for i in places for j in places if rows is not columns or i <= j]
  products = [rows[i].astype(dtype) * columns[j].astype(dtype) for i, j in pairs]
  if together:
    sums = jax.lax.reduce(
      products,
      [jnp.zeros((), dtype)] * len(pairs),
      lambda total, part: [a + b for a, b in zip(total, part, strict=True)],
      tuple(range(rows.ndim - 1)),
    )
  else:
    sums = [jnp.sum(product) for product in products]
  found = dict(zip(pairs, sums, strict=True))
  found |= {(j, i): value for (i, j), value in found.items() if (j, i) not in found}
  return jnp.stack([jnp.stack([found[i, j] for j in places]) for i in places])


def scaled_gramian(
  task_grads: PyTree,
  mask: jax.Array,
  other: PyTree | None = None,
  products: Callable[..., jax.Array] = gramian,
) -> tuple[jax.Array, jax.Array]:
  """The Gramian as `scale**2 * gramian`, so that float32 neither over- nor underflows.

  The square of a gradient of 1e-20 or 1e20 is outside of float32. Where the plain Gramian leaves
  the safe range, it is computed again from gradients divided by their largest absolute entry; on
  accelerators all are divided by a power of two near it first. Gradients more than 1e15 times
  smaller than the largest count as zero then. With `other`, the task gradients h of another batch,
  the inner products are `<g_i, h_j>`. `products` makes the Gramian, where the pytree holds
  something linear in the task gradients instead of them.
  """
  both = real_view((task_grads,) if other is None else (task_grads, other))
  if not on_cpu(*jax.tree.leaves(both)):
    # A device would wait for the host at a question, and hold the memory of either answer. By the
    # compiler for a TPU: 8 gradients of 64 million parameters, 15 GB moved instead of 24, 1.6 of
    # temporary memory instead of 5.7.
    scale = _power_of_two(_largest(both))
    scaled = products(*jax.tree.map(lambda x: _times(x, 1 / scale), both))
    whole = scaled * scale * scale  # exactly the plain one, where that is in range
    safe = _is_safe(whole, mask)
    return jnp.where(safe, whole, scaled), jnp.where(safe, 1, scale)
  plain = products(*both)
  safe = _is_safe(plain, mask)

  def rescaled() -> tuple[jax.Array, jax.Array]:
    largest = _largest(both).astype(plain.dtype)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return products(*jax.tree.map(lambda g: g.astype(plain.dtype) / scale, both)), scale

  return jax.lax.cond(safe, lambda: (plain, jnp.ones_like(plain[0, 0])), rescaled)


def _is_safe(gramian: jax.Array, mask: jax.Array) -> jax.Array:
  """Whether the squares of tasks with labels leave room in float32."""
  tasks = jnp.arange(len(gramian))
  squares = jnp.where(mask, jnp.abs(gramian[tasks, tasks]), 1.0)
  return jnp.all((squares > _SAFE_SQUARE) & (squares < 1 / _SAFE_SQUARE))


def _largest(tree: PyTree) -> jax.Array:
  """The largest size of an entry, in float32 or wider."""
  dtype = accumulator_dtype(tree)
  largest = [jnp.max(jnp.abs(leaf), initial=0).astype(dtype) for leaf in jax.tree.leaves(tree)]
  return jnp.max(jnp.stack(largest))


def _power_of_two(size: jax.Array) -> jax.Array:
  """Near a size and exact to divide by; 1 of zero and of what is not finite."""
  known = (size > 0) & jnp.isfinite(size)
  _, exponent = jnp.frexp(jnp.where(known, size, 1))
  return jnp.ldexp(jnp.ones_like(size), jnp.where(known, jnp.clip(exponent, -125, 125), 0))


def _times(leaf: jax.Array, factor: jax.Array) -> jax.Array:
  """Times a power of two that float32 has, exactly; float16 cannot hold every such factor."""
  dtype = jnp.promote_types(leaf.dtype, jnp.float32) if leaf.dtype == jnp.float16 else leaf.dtype
  return leaf.astype(dtype) * factor.astype(dtype)


def row_norms(task_grads: PyTree) -> jax.Array:
  """The norm of each task gradient over all leaves, `[T]`, in float32 or wider.

  Also of gradients of 1e-20 or 1e20, whose squares are outside of float32.
  """
  num_tasks, dtype = task_count(task_grads), accumulator_dtype(task_grads)
  rows = [as_real(leaf).reshape(num_tasks, -1) for leaf in jax.tree.leaves(task_grads)]

  def squares(scale: jax.Array) -> jax.Array:
    parts = (jnp.sum((r.astype(dtype) / scale) ** 2, axis=1) for r in rows)
    return sum(parts, jnp.zeros(num_tasks, dtype))

  plain = squares(jnp.ones((), dtype))
  safe = jnp.all((plain > _SAFE_SQUARE) & (plain < 1 / _SAFE_SQUARE))

  def rescaled() -> jax.Array:
    parts = [jnp.max(jnp.abs(r), axis=1, initial=0).astype(dtype) for r in rows]
    largest = jnp.stack(parts).max(axis=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.sqrt(squares(scale[:, None]))

  return jax.lax.cond(safe, lambda: jnp.sqrt(plain), rescaled)


def reciprocal(values: jax.Array) -> jax.Array:
  """1 / values, and 0 where they are not positive."""
  return jnp.where(values > 0, 1 / jnp.where(values > 0, values, 1), 0)


def of_order_one(gramian: jax.Array) -> jax.Array:
  """The Gramian divided by the largest size on its diagonal, unless all of that is zero."""
  largest = jnp.max(jnp.abs(jnp.diagonal(gramian)))
  return gramian / jnp.where(largest > 0, largest, 1)


def accumulator_dtype(tree: PyTree) -> jnp.dtype:
  """float32, or the widest real dtype of the leaves where that is wider."""
  dtypes = [jnp.finfo(x.dtype).dtype for x in jax.tree.leaves(tree) if _is_inexact(x)]
  return jnp.result_type(jnp.float32, *dtypes)


def _is_inexact(leaf: jax.Array) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.inexact)
