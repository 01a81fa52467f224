"""Transposed convolutions in PyTorch's sense, in the form that each backend runs fast."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxmtl.models.conv import Form, use_cpu_form


def conv_transpose2d(
  x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, form: Form = "auto"
) -> jax.Array:
  """Transposed convolution: every input pixel adds a scaled kernel to the output.

  `y[b, s h + i - p, s w + j - p, o] += x[b, h, w, c] kernel[i, j, c, o]`, for stride `s` and
  padding `p`, as PyTorch's `conv_transpose2d` (whose kernel is `[C, O, kh, kw]`).
  `nn.ConvTranspose` means something else: it counts padding on the dilated input.

  Args:
    x: maps, float `[B, H, W, C]`.
    kernel: float `[kh, kw, C, O]`, of the dtype of `x`.
    stride: distance between the kernels that neighbouring pixels add.
    padding: number of pixels cut from every side of the output.
    form: as in `conv2d`.

  Returns:
    Maps `[B, (H - 1) s - 2 p + kh, (W - 1) s - 2 p + kw, O]`, of the dtype of `x`.

  Raises:
    ValueError: if the shapes do not fit or leave no output.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import conv_transpose2d
    >>> conv_transpose2d(jnp.ones((1, 4, 4, 2)), jnp.ones((4, 4, 2, 3)), stride=2, padding=1).shape
    (1, 8, 8, 3)

  Reference: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, ch. 4.
  """
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
    raise ValueError(
      f"conv_transpose2d needs x [B, H, W, C] and kernel [kh, kw, C, O] with one C, got {x.shape}"
      f" and {kernel.shape}"
    )
  height, width = (
    (n - 1) * stride - 2 * padding + k for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
  )
  if min(height, width) < 1:
    raise ValueError(f"padding={padding} leaves no output: {height}x{width}")
  if use_cpu_form(form, x, kernel):
    return _matmul_transpose(x, kernel, stride, padding, (height, width))
  pads = [(k - 1 - padding, k - 1 - padding) for k in kernel.shape[:2]]
  return lax.conv_general_dilated(
    x,
    kernel[::-1, ::-1],
    (1, 1),
    pads,
    lhs_dilation=(stride, stride),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


class ConvTranspose(nn.Module):
  """Transposed convolution layer in PyTorch's sense.

  Parameters are `kernel [kh, kw, C, O]` and, with `use_bias`, `bias [O]`.

  Args:
    features: number of output channels O.
    kernel_size: `(kh, kw)`.
    stride: distance between the kernels that neighbouring pixels add.
    padding: number of pixels cut from every side of the output.
    use_bias: whether to add a bias.
    dtype: compute dtype; None promotes the dtypes of input and parameters.
    param_dtype: dtype of the parameters.
    kernel_init: initialiser of the kernel.
    bias_init: initialiser of the bias.

  Returns:
    When called with `[B, H, W, C]`, maps as `conv_transpose2d` gives them.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import ConvTranspose
    >>> init = ConvTranspose(8, (4, 4), stride=2, padding=1).init_with_output
    >>> jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 4, 4, 3)))[0].shape
    (2, 8, 8, 8)

  Reference: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, ch. 4.
  """

  features: int
  kernel_size: Sequence[int] = (4, 4)
  stride: int = 1
  padding: int = 0
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
  bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map `[B, H, W, C]` to the larger maps of `conv_transpose2d`."""
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = (
      self.param("bias", self.bias_init, (self.features,), self.param_dtype)
      if self.use_bias
      else None
    )
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
    y = conv_transpose2d(x, kernel, stride=self.stride, padding=self.padding)
    return y if bias is None else y + bias


def _matmul_transpose(
  x: jax.Array, kernel: jax.Array, stride: int, padding: int, size: tuple[int, int]
) -> jax.Array:
  """One matrix product for each of the stride^2 phases, whose outputs then interleave.

  Row `stride m + a` receives kernel row i from input row `m + (a + padding - i) / stride` where
  this is whole: each phase (a, b) is a small dense convolution and no product with zeros is formed.
  """
  batch, features = x.shape[0], kernel.shape[-1]
  if x.shape[1:3] == (1, 1) and padding == 0:  # the kernel itself, weighted: no overlap, no taps
    return _products(x, kernel).reshape(batch, *kernel.shape[:2], features)
  counts = [-(-n // stride) for n in size]  # outputs of a phase, the last ones perhaps cut below
  plans, pads = [], []
  for axis in (0, 1):
    phases = [
      [
        (i, (a + padding - i) // stride)
        for i in range(kernel.shape[axis])
        if (a + padding - i) % stride == 0
      ]
      for a in range(stride)
    ]
    shifts = [shift for taps in phases for _, shift in taps]
    before = max(0, -min(shifts))
    after = max(0, counts[axis] + max(shifts) - x.shape[axis + 1])
    plans.append([[(i, shift + before) for i, shift in taps] for taps in phases])
    pads.append((before, after))
  narrow = features == 1 and x.shape[-1] > 1
  if narrow:  # products before the shifts: what is shifted has fewer channels than x
    x = _products(x, kernel)
  x = jnp.pad(x, ((0, 0), *pads, *[(0, 0)] * (x.ndim - 3)))

  def phase(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> jax.Array:
    taps = [(i, j, top, left) for i, top in rows for j, left in columns]
    if not taps:  # a stride larger than the kernel leaves gaps
      return jnp.zeros((batch, *counts, features), x.dtype)
    if narrow:
      terms = [x[:, t : t + counts[0], q : q + counts[1], i, j] for i, j, t, q in taps]
      return functools.reduce(jnp.add, terms)
    patches = [x[:, t : t + counts[0], q : q + counts[1]] for _, _, t, q in taps]
    weights = jnp.concatenate([kernel[i, j] for i, j, _, _ in taps])
    return jnp.concatenate(patches, axis=-1) @ weights

  grid = [[phase(rows, columns) for columns in plans[1]] for rows in plans[0]]
  y = jnp.stack([jnp.stack(row, axis=3) for row in grid], axis=2)  # [B, M, a, N, b, O]
  y = y.reshape(batch, counts[0] * stride, counts[1] * stride, features)
  return y[:, : size[0], : size[1]]


def _products(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Every pixel times the whole kernel, `[B, H, W, kh, kw, O]`, as one matrix product."""
  channels = x.shape[-1]
  flat = x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
  return flat.reshape(*x.shape[:3], *kernel.shape[:2], kernel.shape[-1])
