"""A convolution for the CPU whose derivatives are fast convolutions and matrix products as well.

XLA's CPU backend has a fast kernel for `lax.conv_general_dilated` in the layout NHWC, HWIO, inside
loops too; but what JAX derives from such a convolution has other layouts, for which it falls back
to code that is slow, and in a loop slower by an order of magnitude. Here the derivative for the
maps is a convolution of the first layout, that for the kernel a matrix product.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxmtl.gradients.linear_layers import register_convolution
from jaxmtl.models._patches import Pads, kernel_gradient, matmul_conv, output_size

Pair = tuple[int, int]
_LAYOUT = ("NHWC", "HWIO", "NHWC")
# XLA has the kernel for more output channels or at least this many input channels.
_OUTPUTS, _INPUTS = 16, 32
# Smaller maps waste too much on their borders.
_SMALLEST_MAP = 5


def cpu_conv(
  x: jax.Array, kernel: jax.Array, strides: Pair, pads: Pads, dilation: Pair
) -> jax.Array:
  """The convolution in whichever form is fast; arguments as `lax.conv_general_dilated`'s."""
  # Types of values that vary over a mesh's axes are beyond a primitive of one's own.
  manual = jax.sharding.get_abstract_mesh().manual_axes
  if manual or not _is_fast(x.shape, kernel.shape, x.dtype, strides, pads, dilation):
    return matmul_conv(x, kernel, strides, pads, dilation)
  return _bind(x, kernel, strides, pads, dilation)


def _bind(x: jax.Array, kernel: jax.Array, strides: Pair, pads: Pads, dilation: Pair) -> jax.Array:
  # The options that `lax.conv_general_dilated` has, so that `jaxmtl.gradients` reads both alike.
  return _primitive.bind(
    x,
    kernel,
    window_strides=strides,
    padding=pads,
    rhs_dilation=dilation,
    lhs_dilation=(1, 1),
    dimension_numbers=lax.conv_dimension_numbers(x.shape, kernel.shape, _LAYOUT),
    feature_group_count=1,
    batch_group_count=1,
  )


def _is_fast(
  x: tuple[int, ...], kernel: tuple[int, ...], dtype: Any, strides: Pair, pads: Pads, dilation: Pair
) -> bool:
  """Whether XLA's kernel serves this convolution, and better than a matrix product would."""
  height, width, channels, features = kernel
  rows, columns = output_size(x, kernel, strides, pads, dilation)
  return (
    dtype in (jnp.float32, jnp.bfloat16)
    and (features > _OUTPUTS or channels >= _INPUTS)
    and min(rows, columns) >= _SMALLEST_MAP
    # With fewer rows than that the patches are smaller than the kernel. Also, there the Gramian of
    # task gradients is cheap from the patches, which the matrix product keeps.
    and x[0] * rows * columns >= height * width * channels
    and min(pad for pair in pads for pad in pair) >= 0
    and _has_kernel()
  )


@functools.cache
def _has_kernel() -> bool:
  """Whether XLA was built with the kernel; otherwise its convolutions in loops are very slow."""
  shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((1, 8, 8, 32), (3, 3, 32, 32))]
  call = jax.jit(lambda x, kernel: _convolve(x, kernel, (1, 1), ((0, 0), (0, 0)), (1, 1)))
  return "__ynn_fusion" in (call.lower(*shapes).compile().as_text() or "")


def _convolve(
  x: jax.Array, kernel: jax.Array, strides: Pair, pads: Pads, dilation: Pair
) -> jax.Array:
  extents = [d * (k - 1) for d, k in zip(dilation, kernel.shape[:2], strict=True)]
  if any(sum(pair) > extent for pair, extent in zip(pads, extents, strict=True)):
    # XLA's kernel takes no padding by which maps grow.
    x, pads = jnp.pad(x, ((0, 0), *pads, (0, 0))), ((0, 0), (0, 0))
  return lax.conv_general_dilated(
    x, kernel, strides, pads, rhs_dilation=dilation, dimension_numbers=_LAYOUT
  )


def _implementation(x: jax.Array, kernel: jax.Array, **options: Any) -> jax.Array:
  return _convolve(x, kernel, *_geometry(options))


def _geometry(options: dict[str, Any]) -> tuple[Pair, Pads, Pair]:
  return options["window_strides"], options["padding"], options["rhs_dilation"]


def _shape(x: Any, kernel: Any, **options: Any) -> Any:
  size = output_size(x.shape, kernel.shape, *_geometry(options))
  return x.update(shape=(x.shape[0], *size, kernel.shape[3]))


def _transpose_maps(g: jax.Array, x: Any, kernel: jax.Array, **options: Any) -> jax.Array:
  """The cotangent of the maps, from that of the output."""
  shape, (strides, pads, dilation) = x.aval.shape, _geometry(options)
  extents = [d * (k - 1) for d, k in zip(dilation, kernel.shape[:2], strict=True)]
  (top, bottom), (left, right) = pads
  back = ((extents[0] - top, extents[0] - bottom), (extents[1] - left, extents[1] - right))
  flipped = kernel[::-1, ::-1].swapaxes(2, 3)
  if strides == (1, 1) and _is_fast(g.shape, flipped.shape, g.dtype, strides, back, dilation):
    return _bind(g, flipped, strides, back, dilation)
  form = functools.partial(matmul_conv, strides=strides, pads=pads, dilation=dilation)
  (cotangent,) = jax.linear_transpose(
    lambda x: form(x, kernel), jax.ShapeDtypeStruct(shape, g.dtype)
  )(g)
  return cotangent


def _transpose_kernel(g: jax.Array, x: jax.Array, kernel: Any, **options: Any) -> jax.Array:
  """The cotangent of the kernel, from that of the output."""
  return kernel_gradient(x, g, kernel.aval.shape[:2], *_geometry(options))


def _batch(operands: Any, axes: Any, **options: Any) -> tuple[jax.Array, int]:
  """Batched maps are a larger batch; batched kernels are fastest as matrix products."""
  x, kernel = operands
  strides, pads, dilation = _geometry(options)
  if axes[1] is not None:
    form = functools.partial(matmul_conv, strides=strides, pads=pads, dilation=dilation)
    return jax.vmap(form, in_axes=tuple(axes))(x, kernel), 0
  x = jnp.moveaxis(x, axes[0], 0)
  y = _bind(x.reshape(-1, *x.shape[2:]), kernel, strides, pads, dilation)
  return y.reshape(*x.shape[:2], *y.shape[1:]), 0


_primitive = core.Primitive("cpu_convolution")
_primitive.def_impl(_implementation)
_primitive.def_abstract_eval(_shape)
mlir.register_lowering(_primitive, mlir.lower_fun(_implementation, multiple_results=False))
ad.defbilinear(_primitive, _transpose_maps, _transpose_kernel)
batching.primitive_batchers[_primitive] = _batch
register_convolution(_primitive)
