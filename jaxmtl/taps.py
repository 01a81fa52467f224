"""Where parameters enter a traced function linearly, and taps on what comes out there.

A dense layer, a convolution or an embedding multiplies a parameter with inputs X. The gradient of a
loss for the parameter is then a product of X with the loss's cotangent at the layer's output, and
inner products of such gradients follow from X and the cotangents alone. This module finds such
places in the jaxpr of any function, whatever library wrote it, and evaluates the function with
zeros, the taps, added to their outputs; the cotangents are the gradients for the taps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

# Calls whose equations may stand in their caller. Others (scan, cond, checkpoint, custom rules)
# keep their equations; a parameter used in one is not tapped.
_CALLS = ("jit", "pjit")
# They move or round entries, so that inner products of gradients stay.
_LAYOUT = ("reshape", "transpose", "squeeze", "expand_dims", "convert_element_type", "copy")

# The second is `jaxmtl.models.conv2d`'s on CPU, with the options of the first.
_CONVOLUTIONS = ("conv_general_dilated", "cpu_convolution")


class Equation(NamedTuple):
  """One equation of a `Program`, its inputs and outputs as places in the environment."""

  eqn: core.JaxprEqn
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]


class Program(NamedTuple):
  """A flat jaxpr. Places 0 to n - 1 hold the n arguments."""

  equations: list[Equation]
  constants: dict[int, Any]
  outputs: list[int]
  output_shapes: list[tuple[int, ...]]


class Use(NamedTuple):
  """A linear layer: an equation that multiplies a parameter with its inputs.

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
  def kind(self) -> str:
    """dot_general, conv_general_dilated or gather."""
    return self.eqn.primitive.name

  @property
  def layout(self) -> tuple[Any, ...]:
    """Equal for two uses of one parameter whose gradients have the same form."""
    steps = tuple((primitive.name, tuple(sorted(o.items()))) for primitive, o in self.path)
    if self.kind == "dot_general":
      return (self.kind, steps, self.eqn.params["dimension_numbers"][0][self.side])
    if self.kind in _CONVOLUTIONS:
      return (self.kind, steps, self.eqn.params["dimension_numbers"].rhs_spec)
    return (self.kind, steps)

  def same_entry(self, indices: jax.Array) -> jax.Array:
    """Which of an embedding's indices `[N]` name the same entry, bool `[N, N]`."""
    size = self.sizes()[1]
    if self.eqn.params["mode"] == jax.lax.GatherScatterMode.CLIP:
      indices = jnp.clip(indices, 0, size - 1)
    inside = (indices >= 0) & (indices < size)
    return (indices[:, None] == indices[None, :]) & inside[:, None]

  @property
  def output(self) -> Any:
    """Shape and dtype of the layer's output."""
    return self.eqn.outvars[0].aval

  def sizes(self) -> tuple[int, int, int]:
    """Rows N of the inputs, their length K, and the length of an output row."""
    parameter, total = self.eqn.invars[self.side].aval.shape, math.prod(self.output.shape)
    if self.kind == "dot_general":
      contracted = self.eqn.params["dimension_numbers"][0][self.side]
      length = math.prod(parameter[i] for i in contracted)
      out = math.prod(parameter) // max(length, 1)
    elif self.kind in _CONVOLUTIONS:
      out = parameter[self.eqn.params["dimension_numbers"].rhs_spec[0]]
      length = math.prod(parameter) // max(out, 1)
    else:
      length, out = parameter
    return total // max(out, 1), length, out

  def rows(self, inputs: jax.Array) -> jax.Array:
    """The layer's inputs as a matrix `[N, K]`; an embedding's as its indices `[N]`."""
    options = self.eqn.params
    if self.kind == "gather":
      return inputs.reshape(-1)
    if self.kind in _CONVOLUTIONS:
      numbers, kernel = options["dimension_numbers"], self.eqn.invars[1].aval.shape
      patches = jax.lax.conv_general_dilated_patches(
        inputs,
        [kernel[i] for i in numbers.rhs_spec[2:]],
        options["window_strides"],
        options["padding"],
        lhs_dilation=options["lhs_dilation"],
        rhs_dilation=options["rhs_dilation"],
        dimension_numbers=numbers,
      )
      return jnp.moveaxis(patches, numbers.out_spec[1], -1).reshape(-1, self.sizes()[1])
    # In the order of the parameter's contracted dimensions, which another use may pair otherwise.
    contracted = options["dimension_numbers"][0]
    pairs = zip(contracted[self.side], contracted[1 - self.side], strict=True)
    last = [mine for _, mine in sorted(pairs)]
    free = [i for i in range(inputs.ndim) if i not in last]
    return inputs.transpose(free + last).reshape(-1, self.sizes()[1])

  def cotangent_rows(self, cotangents: jax.Array) -> jax.Array:
    """Cotangents of the output, `[T, *output.shape]`, as `[T, N, out]`."""
    rows, _, out = self.sizes()
    if self.kind in _CONVOLUTIONS:
      feature = self.eqn.params["dimension_numbers"].out_spec[1]
      cotangents = jnp.moveaxis(cotangents, feature + 1, -1)
    elif self.kind == "dot_general" and self.side == 0:
      return cotangents.reshape(-1, out, rows).swapaxes(1, 2)
    return cotangents.reshape(-1, rows, out)

  def gradient(self, parameter: jax.Array, inputs: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The parameter's gradient from one cotangent of the output."""

    def apply(parameter: jax.Array) -> jax.Array:
      for primitive, options in self.path:
        parameter = _bind(primitive, options, [parameter])[0]
      operands = [inputs, inputs]
      operands[self.side] = parameter
      return _bind(self.eqn.primitive, self.eqn.params, operands)[0]

    return jax.vjp(apply, parameter)[1](cotangent)[0]


def flatten(closed: core.ClosedJaxpr) -> Program:
  """The jaxpr with the bodies of jitted calls in the place of the calls."""
  shapes = [atom.aval.shape for atom in closed.jaxpr.outvars]
  program, places = Program([], {}, [], shapes), itertools.count(len(closed.jaxpr.invars))

  def inline(closed: core.ClosedJaxpr, arguments: Sequence[int]) -> list[int]:
    env = dict(zip(closed.jaxpr.invars, arguments, strict=True))

    def constant(value: Any) -> int:
      place = next(places)
      program.constants[place] = value
      return place

    def read(atom: Any) -> int:
      return constant(atom.val) if isinstance(atom, core.Literal) else env[atom]

    for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
      env[var] = constant(value)
    for eqn in closed.jaxpr.eqns:
      inputs = [read(atom) for atom in eqn.invars]
      if eqn.primitive.name in _CALLS:
        outputs = inline(eqn.params["jaxpr"], inputs)
      else:
        outputs = [next(places) for _ in eqn.outvars]
        program.equations.append(Equation(eqn, tuple(inputs), tuple(outputs)))
      env |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]

  program.outputs.extend(inline(closed, range(len(closed.jaxpr.invars))))
  return program


def linear_uses(program: Program, num_parameters: int) -> dict[int, list[Use]]:
  """For each of the first arguments that only enters linear layers of one form: these layers."""
  aliases: dict[int, tuple[int, tuple]] = {i: (i, ()) for i in range(num_parameters)}
  uses: dict[int, list[Use]] = {i: [] for i in range(num_parameters)}
  for position, (eqn, inputs, outputs) in enumerate(program.equations):
    hits = [k for k, place in enumerate(inputs) if place in aliases]
    if not hits:
      continue
    parameter, path = aliases[inputs[hits[0]]]
    if len(hits) == 1 and eqn.primitive.name in _LAYOUT and _is_float(eqn.outvars[0]):
      aliases[outputs[0]] = (parameter, (*path, (eqn.primitive, eqn.params)))
    elif len(hits) == 1 and _is_linear_layer(eqn, hits[0]):
      uses.get(parameter, []).append(Use(position, hits[0], path, eqn))
    else:
      for k in hits:
        uses.pop(aliases[inputs[k]][0], None)
  for place in program.outputs:
    if place in aliases:
      uses.pop(aliases[place][0], None)
  return {i: u for i, u in uses.items() if u and all(x.layout == u[0].layout for x in u)}


def evaluate(
  program: Program, arguments: Sequence[Any], taps: Mapping[int, Any]
) -> tuple[list[Any], dict[int, Any]]:
  """The program's outputs with `taps[i]` added to the output of equation i.

  Returns:
    The outputs, and for each tapped equation the values of its operands.
  """
  env: dict[int, Any] = dict(enumerate(arguments)) | program.constants
  operands = {}
  for position, (eqn, inputs, outputs) in enumerate(program.equations):
    values = [env[place] for place in inputs]
    with eqn.ctx.manager:
      results = _bind(eqn.primitive, eqn.params, values)
    if position in taps:
      operands[position] = values
      results = [results[0] + taps[position]]
    env |= dict(zip(outputs, results, strict=True))
  return [env[place] for place in program.outputs], operands


def _bind(primitive: core.Primitive, options: dict[str, Any], values: Sequence[Any]) -> list[Any]:
  results = primitive.bind(*values, **primitive.get_bind_params(options))
  return list(results) if primitive.multiple_results else [results]


def _is_float(var: Any) -> bool:
  return jnp.issubdtype(var.aval.dtype, jnp.floating)


def _is_linear_layer(eqn: Any, side: int) -> bool:
  options = eqn.params
  if eqn.primitive.name == "dot_general":
    return options["dimension_numbers"][1] == ((), ())
  if eqn.primitive.name in _CONVOLUTIONS:
    return side == 1 and options["feature_group_count"] == options["batch_group_count"] == 1
  if eqn.primitive.name == "gather" and side == 0 and eqn.invars[0].aval.ndim == 2:
    numbers, indices = options["dimension_numbers"], eqn.invars[1].aval
    return (
      numbers.offset_dims == (indices.ndim - 1,)
      and numbers.collapsed_slice_dims == numbers.start_index_map == (0,)
      and not numbers.operand_batching_dims
      and options["slice_sizes"] == (1, eqn.invars[0].aval.shape[1])
    )
  return False
