"""Convolutions in the form that each backend runs fast.

XLA's CPU backend runs `lax.conv` several times slower on tiny maps and with batched kernels (`vmap`
over seeds), and the derivatives that JAX makes of it inside loops (`scan`, `map`, `while_loop`),
than the same sums written as matrix products. On CPU, this module therefore writes such
convolutions as slices and matrix products, and the others as `lax.conv` with derivatives of its
own; every other backend gets one plain `lax.conv_general_dilated`. Taps that are dilated beyond the
map are left out everywhere.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxmtl._platform import on_cpu
from jaxmtl.models._convolution import cpu_conv
from jaxmtl.models._patches import Pads, matmul_conv
from jaxmtl.models._wide_dilation import mostly_idle, tap_conv, without_idle_taps

Padding = Literal["SAME", "VALID"] | int | Sequence[int | tuple[int, int]]
Form = Literal["auto", "cpu", "lax"]
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv2d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: int | Sequence[int] = 1,
  padding: Padding = "SAME",
  dilation: int | Sequence[int] = 1,
  groups: int = 1,
  form: Form = "auto",
) -> jax.Array:
  """Two-dimensional convolution (cross-correlation), channels last.

  `y[b, h, w, o] = sum_{i,j,c} x[b, s h + d i, s w + d j, c] kernel[i, j, c, o]` over the padded
  `x`, for stride `s` and dilation `d`. Differentiable any number of times, in both modes.

  Args:
    x: maps, float `[B, H, W, C]`.
    kernel: float `[kh, kw, C / groups, O]`, of the dtype of `x`.
    strides: one stride or `(vertical, horizontal)`.
    padding: `"SAME"`, `"VALID"`, a number of pixels for every side, or two entries (vertical,
      horizontal), each a number or a pair `(before, after)`.
    dilation: distance between kernel taps: one number or `(vertical, horizontal)`.
    groups: number of groups of input channels, each with its own `O / groups` output channels.
    form: `"lax"` for `lax.conv_general_dilated`, `"cpu"` for what is fast on a CPU,
      `"auto"` for the latter where it is computed on a CPU and the former elsewhere.

  Returns:
    Maps `[B, H', W', O]`, of the dtype of `x`.

  Raises:
    ValueError: if the shapes do not fit, or `padding` or `form` is unknown.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import conv2d
    >>> conv2d(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5)), strides=2).shape
    (1, 2, 2, 5)
  """
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != groups * kernel.shape[2]:
    raise ValueError(
      f"conv2d needs x [B, H, W, C] and kernel [kh, kw, C / groups, O] with one C, got {x.shape},"
      f" {kernel.shape} and groups={groups}"
    )
  if groups < 1 or kernel.shape[3] % groups:
    raise ValueError(f"groups must divide the kernel's O, got groups={groups} and {kernel.shape}")
  steps, rates = _pair("strides", strides), _pair("dilation", dilation)
  pads = _pads(padding, x.shape[1:3], kernel.shape[:2], steps, rates)
  if max(rates) > 1 and form != "lax":
    kernel, pads = without_idle_taps(x, kernel, steps, pads, rates)
  cpu = use_cpu_form(form, x, kernel)
  if cpu and groups > 1:  # one convolution a group, batched
    x = x.reshape(*x.shape[:3], groups, -1)
    kernel = kernel.reshape(*kernel.shape[:3], groups, -1)
    y = jax.vmap(lambda x, kernel: matmul_conv(x, kernel, steps, pads, rates), 3, 3)(x, kernel)
    return y.reshape(*y.shape[:3], -1)
  if cpu and mostly_idle(x, kernel, steps, pads, rates):
    return tap_conv(x, kernel, pads, rates)
  if cpu:
    return cpu_conv(x, kernel, steps, pads, rates)
  return lax.conv_general_dilated(
    x,
    kernel,
    steps,
    pads,
    rhs_dilation=rates,
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )


def use_cpu_form(form: Form = "auto", *values: jax.Array) -> bool:
  """Whether a convolution takes the forms of the CPU, decided while tracing.

  Args:
    form: `"auto"`, `"cpu"` or `"lax"`, as in `conv2d`.
    *values: what it is computed from.

  Returns:
    True for `"cpu"`, and for `"auto"` where it is computed on a CPU, see `jaxmtl.forms_for`.

  Raises:
    ValueError: if `form` is unknown.

  Example:
    >>> from jaxmtl.models.conv import use_cpu_form
    >>> use_cpu_form("lax")
    False
  """
  if form not in ("auto", "cpu", "lax"):
    raise ValueError(f"form must be 'auto', 'cpu' or 'lax', got {form!r}")
  # Chosen while tracing, not by `jax.lax.platform_dependent`: that compiles to the same program in
  # every transform (measured: same temporaries, no trace of the unused branch), but traces and
  # differentiates both branches, so that compilation takes 1.4 times as long.
  return form == "cpu" or (form == "auto" and on_cpu(*values))


class Conv(nn.Module):
  """Two-dimensional convolution layer: `nn.Conv`'s parameters, `conv2d`'s speed.

  Parameters are `kernel [kh, kw, C / groups, O]` and, with `use_bias`, `bias [O]`, as in `nn.Conv`,
  so that checkpoints carry over in both directions.

  Args:
    features: number of output channels O.
    kernel_size: `(kh, kw)`.
    strides: one stride or `(vertical, horizontal)`.
    padding: as in `conv2d`.
    kernel_dilation: distance between kernel taps, one number or two.
    feature_group_count: number of groups of channels, as `groups` in `conv2d`.
    use_bias: whether to add a bias.
    dtype: compute dtype; None promotes the dtypes of input and parameters.
    param_dtype: dtype of the parameters.
    kernel_init: initialiser of the kernel.
    bias_init: initialiser of the bias.

  Returns:
    When called with `[B, H, W, C]`, maps `[B, H', W', features]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models import Conv
    >>> init = Conv(8, (3, 3)).init_with_output
    >>> y, variables = jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 6, 6, 3)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((2, 6, 6, 8), (3, 3, 3, 8))
  """

  features: int
  kernel_size: Sequence[int] = (3, 3)
  strides: int | Sequence[int] = 1
  padding: Padding = "SAME"
  kernel_dilation: int | Sequence[int] = 1
  feature_group_count: int = 1
  use_bias: bool = True
  dtype: Any = None
  param_dtype: Any = jnp.float32
  kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
  bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Convolve maps `[B, H, W, C]` into `[B, H', W', features]`."""
    shape = (*self.kernel_size, x.shape[-1] // self.feature_group_count, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = (
      self.param("bias", self.bias_init, (self.features,), self.param_dtype)
      if self.use_bias
      else None
    )
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
    y = conv2d(
      x,
      kernel,
      strides=self.strides,
      padding=self.padding,
      dilation=self.kernel_dilation,
      groups=self.feature_group_count,
    )
    return y if bias is None else y + bias


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
  """Two positive numbers from one or two."""
  pair = (value, value) if isinstance(value, int) else tuple(value)
  if len(pair) != 2 or min(pair) < 1:
    raise ValueError(f"{name} must be one or two numbers >= 1, got {value!r}")
  return pair[0], pair[1]


def _pads(
  padding: Padding,
  size: Sequence[int],
  kernel_size: Sequence[int],
  strides: tuple[int, int],
  dilation: tuple[int, int],
) -> Pads:
  """Explicit pixels (before, after) for both axes."""
  if isinstance(padding, str):
    if padding not in ("SAME", "VALID"):
      raise ValueError(f"padding must be 'SAME', 'VALID' or numbers, got {padding!r}")
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel_size, strict=True)]
    vertical, horizontal = lax.padtype_to_pads(size, extent, strides, padding)
    return tuple(vertical), tuple(horizontal)  # type: ignore[return-value]
  entries = (padding, padding) if isinstance(padding, int) else tuple(padding)
  if len(entries) != 2:
    raise ValueError(f"padding must have two entries (vertical, horizontal), got {padding!r}")
  top_bottom, left_right = ((e, e) if isinstance(e, int) else (e[0], e[1]) for e in entries)
  return top_bottom, left_right
