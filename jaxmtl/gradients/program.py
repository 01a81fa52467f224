"""A traced function as one flat list of equations, and its evaluation with taps.

A tap is an array added to an equation's output. With zeros for taps nothing changes, and their
gradients are the cotangents at these outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax.extend import core

# Calls whose equations may stand in their caller. Others (scan, cond, checkpoint, custom rules)
# keep their equations; a parameter used in one is not tapped.
CALLS = ("jit", "pjit")


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
      if eqn.primitive.name in CALLS:
        outputs = inline(eqn.params["jaxpr"], inputs)
      else:
        outputs = [next(places) for _ in eqn.outvars]
        program.equations.append(Equation(eqn, tuple(inputs), tuple(outputs)))
      env |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]

  program.outputs.extend(inline(closed, range(len(closed.jaxpr.invars))))
  return program


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
      results = bind(eqn.primitive, eqn.params, values)
    if position in taps:
      operands[position] = values
      results = [results[0] + taps[position]]
    env |= dict(zip(outputs, results, strict=True))
  return [env[place] for place in program.outputs], operands


def bind(primitive: core.Primitive, options: dict[str, Any], values: Sequence[Any]) -> list[Any]:
  """The outputs of one primitive."""
  results = primitive.bind(*values, **primitive.get_bind_params(options))
  return list(results) if primitive.multiple_results else [results]
