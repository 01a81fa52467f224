"""Where parameters enter a traced function linearly: dense layers, convolutions, embeddings.

Such a layer multiplies a parameter with its inputs X. The gradient of a loss for the parameter is
then a product of X with the loss's cotangent D at the layer's output, and inner products of such
gradients follow from X and the cotangents alone: <X^T D_s, X^T D_t> = <D_s, (X X^T) D_t>. The
layers are found in the jaxpr of any function, whatever library wrote it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxmtl._platform import on_cpu
from jaxmtl.gradients.inner_products import factor_precision
from jaxmtl.gradients.program import Program, bind

# They move or round entries, so that inner products of gradients stay.
_LAYOUT = ("reshape", "transpose", "squeeze", "expand_dims", "convert_element_type", "copy")
_CONVOLUTIONS = {"conv_general_dilated"}


class Sizes(NamedTuple):
  """Of a layer as a matrix product: N rows of inputs of a length, and of an output row."""

  rows: int
  length: int
  out: int


class Layer(Protocol):
  """One use of a parameter in a linear layer; an equation with the parameter as an operand."""

  @property
  def use(self) -> Use:
    """Where."""

  @property
  def form(self) -> tuple[Any, ...]:
    """Equal for two uses of one parameter whose gradients have the same form."""

  @property
  def sizes(self) -> Sizes:
    """As a matrix product."""

  def rows(self, inputs: jax.Array) -> jax.Array:
    """The layer's inputs with leading axis N."""

  def cotangent_rows(self, cotangents: jax.Array) -> jax.Array:
    """Cotangents of the output, `[T, *output.shape]`, as `[T, N, out]`."""

  def products(self, rows: jax.Array, dtype: Any) -> jax.Array:
    """X X^T `[N, N]` of rows of inputs."""

  def costs(self, rows: int, num_tasks: int) -> tuple[int, int]:
    """Multiplications of the part of the Gramian, from N rows and by the task gradients."""


class Use(NamedTuple):
  """An equation that a parameter is an operand of.

  Attributes:
    position: of the equation in the program.
    side: which operand the parameter is.
    path: primitives with their options that lead from the parameter to that operand.
    eqn: the equation, a `jax.extend.core.JaxprEqn`.
  """

  position: int
  side: int
  path: tuple[tuple[core.Primitive, dict[str, Any]], ...]
  eqn: Any

  @property
  def options(self) -> dict[str, Any]:
    """Of the primitive."""
    return self.eqn.params

  @property
  def output(self) -> Any:
    """Shape and dtype of the layer's output."""
    return self.eqn.outvars[0].aval

  @property
  def parameter(self) -> tuple[int, ...]:
    """The shape of the operand that the parameter is."""
    return self.eqn.invars[self.side].aval.shape

  @property
  def steps(self) -> tuple[Any, ...]:
    """The path, comparable."""
    return tuple((primitive.name, tuple(sorted(o.items()))) for primitive, o in self.path)

  def gradient(self, parameter: jax.Array, inputs: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The parameter's gradient from one cotangent of the output."""

    def apply(parameter: jax.Array) -> jax.Array:
      for primitive, options in self.path:
        parameter = bind(primitive, options, [parameter])[0]
      operands = [inputs, inputs]
      operands[self.side] = parameter
      return bind(self.eqn.primitive, self.options, operands)[0]

    return jax.vjp(apply, parameter)[1](cotangent)[0]


class Dense(NamedTuple):
  """A matrix product, with any number of contracted dimensions."""

  use: Use

  @staticmethod
  def takes(eqn: Any, side: int) -> bool:
    """Whether an equation is one, and its operand on this side a parameter's place."""
    del side
    return eqn.primitive.name == "dot_general" and not any(eqn.params["dimension_numbers"][1])

  @property
  def form(self) -> tuple[Any, ...]:
    """The parameter's contracted dimensions."""
    return ("dense", self.use.steps, self._contracted[self.use.side])

  @property
  def sizes(self) -> Sizes:
    """As a matrix product."""
    parameter = self.use.parameter
    length = math.prod(parameter[i] for i in self._contracted[self.use.side])
    return _sizes(self.use, length, math.prod(parameter) // max(length, 1))

  def rows(self, inputs: jax.Array) -> jax.Array:
    """The inputs as a matrix `[N, K]`."""
    # In the order of the parameter's contracted dimensions, which another use may pair otherwise.
    side = self.use.side
    pairs = zip(self._contracted[side], self._contracted[1 - side], strict=True)
    last = [mine for _, mine in sorted(pairs)]
    free = [i for i in range(inputs.ndim) if i not in last]
    return inputs.transpose(free + last).reshape(-1, self.sizes.length)

  def cotangent_rows(self, cotangents: jax.Array) -> jax.Array:
    """`[T, N, out]`."""
    rows, _, out = self.sizes
    if self.use.side == 0:
      return cotangents.reshape(-1, out, rows).swapaxes(1, 2)
    return cotangents.reshape(-1, rows, out)

  def products(self, rows: jax.Array, dtype: Any) -> jax.Array:
    """X X^T `[N, N]`."""
    return _outer(rows, dtype)

  def costs(self, rows: int, num_tasks: int) -> tuple[int, int]:
    """Multiplications, of either way."""
    return _costs(self.sizes, rows, num_tasks)

  @property
  def _contracted(self) -> Any:
    return self.use.options["dimension_numbers"][0]


class Convolution(NamedTuple):
  """A convolution without groups; its inputs are the patches that the kernel sees."""

  use: Use

  @staticmethod
  def takes(eqn: Any, side: int) -> bool:
    """Whether an equation is one, and its operand on this side a parameter's place."""
    if eqn.primitive.name not in _CONVOLUTIONS or side != 1:
      return False
    return eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1

  @property
  def form(self) -> tuple[Any, ...]:
    """The kernel's layout."""
    return ("convolution", self.use.steps, self._numbers.rhs_spec)

  @property
  def sizes(self) -> Sizes:
    """As a matrix product."""
    kernel = self.use.parameter
    out = kernel[self._numbers.rhs_spec[0]]
    return _sizes(self.use, math.prod(kernel) // max(out, 1), out)

  def rows(self, inputs: jax.Array) -> jax.Array:
    """The patches as a matrix `[N, K]`."""
    options, numbers = self.use.options, self._numbers
    patches = jax.lax.conv_general_dilated_patches(
      inputs,
      [self.use.parameter[i] for i in numbers.rhs_spec[2:]],
      options["window_strides"],
      options["padding"],
      lhs_dilation=options["lhs_dilation"],
      rhs_dilation=options["rhs_dilation"],
      dimension_numbers=numbers,
    )
    return jnp.moveaxis(patches, numbers.out_spec[1], -1).reshape(-1, self.sizes.length)

  def cotangent_rows(self, cotangents: jax.Array) -> jax.Array:
    """`[T, N, out]`."""
    rows, _, out = self.sizes
    return jnp.moveaxis(cotangents, self._numbers.out_spec[1] + 1, -1).reshape(-1, rows, out)

  def products(self, rows: jax.Array, dtype: Any) -> jax.Array:
    """X X^T `[N, N]`."""
    return _outer(rows, dtype)

  def costs(self, rows: int, num_tasks: int) -> tuple[int, int]:
    """Multiplications, of either way."""
    implicit, explicit = _costs(self.sizes, rows, num_tasks)
    # Accelerators make patches by a convolution with ones and zeros. Measured on an H200 with
    # ResNet-18: where it saves half of the multiplications, the step takes 1.4 times as long.
    return (implicit if on_cpu(self.use.output) else 4 * implicit), explicit

  @property
  def _numbers(self) -> Any:
    return self.use.options["dimension_numbers"]


class Embedding(NamedTuple):
  """Rows of a table by index, as if the inputs were one-hot."""

  use: Use

  @staticmethod
  def takes(eqn: Any, side: int) -> bool:
    """Whether an equation is one, and its operand on this side a parameter's place."""
    if eqn.primitive.name != "gather" or side != 0 or eqn.invars[0].aval.ndim != 2:
      return False
    numbers, indices = eqn.params["dimension_numbers"], eqn.invars[1].aval
    return (
      numbers.offset_dims == (indices.ndim - 1,)
      and numbers.collapsed_slice_dims == numbers.start_index_map == (0,)
      and not numbers.operand_batching_dims
      and eqn.params["slice_sizes"] == (1, eqn.invars[0].aval.shape[1])
    )

  @property
  def form(self) -> tuple[Any, ...]:
    """There is one."""
    return ("embedding", self.use.steps)

  @property
  def sizes(self) -> Sizes:
    """As a matrix product."""
    return _sizes(self.use, *self.use.parameter)

  def rows(self, inputs: jax.Array) -> jax.Array:
    """The indices `[N]`."""
    return inputs.reshape(-1)

  def cotangent_rows(self, cotangents: jax.Array) -> jax.Array:
    """`[T, N, out]`."""
    rows, _, out = self.sizes
    return cotangents.reshape(-1, rows, out)

  def products(self, rows: jax.Array, dtype: Any) -> jax.Array:
    """Which indices name the same entry, `[N, N]`."""
    size = self.sizes.length
    if self.use.options["mode"] == jax.lax.GatherScatterMode.CLIP:
      rows = jnp.clip(rows, 0, size - 1)
    inside = (rows >= 0) & (rows < size)
    return ((rows[:, None] == rows[None, :]) & inside[:, None]).astype(dtype)

  def costs(self, rows: int, num_tasks: int) -> tuple[int, int]:
    """Equal indices are cheap to find, and the gradients are sums, not products."""
    _, length, out = self.sizes
    pairs = num_tasks * num_tasks
    implicit = num_tasks * rows * rows * out + pairs * rows * out
    return implicit, num_tasks * (rows + length) * out + pairs * length * out


KINDS: tuple[Any, ...] = (Dense, Convolution, Embedding)


def register_convolution(primitive: core.Primitive) -> None:
  """Makes known a primitive with the operands and options of `lax.conv_general_dilated`."""
  _CONVOLUTIONS.add(primitive.name)


def linear_uses(program: Program, num_parameters: int) -> dict[int, list[Layer]]:
  """For each of the first arguments that only enters linear layers of one form: these layers."""
  aliases: dict[int, tuple[int, tuple]] = {i: (i, ()) for i in range(num_parameters)}
  found: dict[int, list[Layer]] = {i: [] for i in range(num_parameters)}
  for position, (eqn, inputs, outputs) in enumerate(program.equations):
    hits = [k for k, place in enumerate(inputs) if place in aliases]
    if not hits:
      continue
    parameter, path = aliases[inputs[hits[0]]]
    kind = next((k for k in KINDS if len(hits) == 1 and k.takes(eqn, hits[0])), None)
    # Complex products would need conjugates: such parameters are left to their task gradients.
    output: Any = eqn.outvars[0].aval
    real = hasattr(output, "dtype") and jnp.issubdtype(output.dtype, jnp.floating)
    if len(hits) == 1 and eqn.primitive.name in _LAYOUT and real:
      aliases[outputs[0]] = (parameter, (*path, (eqn.primitive, eqn.params)))
    elif kind is not None and real:
      found.get(parameter, []).append(kind(Use(position, hits[0], path, eqn)))
    else:
      for k in hits:
        found.pop(aliases[inputs[k]][0], None)
  for place in program.outputs:
    if place in aliases:
      found.pop(aliases[place][0], None)
  return {i: f for i, f in found.items() if f and all(layer.form == f[0].form for layer in f)}


def _sizes(use: Use, length: int, out: int) -> Sizes:
  return Sizes(math.prod(use.output.shape) // max(out, 1), length, out)


def _outer(rows: jax.Array, dtype: Any) -> jax.Array:
  if on_cpu(rows):
    rows = rows.astype(dtype)  # others multiply in half precision and sum in this one
  return jnp.matmul(rows, rows.T, precision=factor_precision(rows), preferred_element_type=dtype)


def _costs(sizes: Sizes, rows: int, num_tasks: int) -> tuple[int, int]:
  _, length, out = sizes
  pairs = num_tasks * num_tasks
  implicit = rows * rows * length + num_tasks * rows * rows * out + pairs * rows * out
  return implicit, num_tasks * rows * length * out + pairs * length * out
