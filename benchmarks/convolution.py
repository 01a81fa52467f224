"""Forms of one convolution, forward and backward, for every shape of VGG and the CIFAR ResNets.

Command: `python -m benchmarks.convolution --modes seeds --batch 64 --repeats 7`. Modes: `alone`
(one call), `scan` (inside `lax.scan`), `seeds` (`vmap` over kernels and maps, inside a scan).
Times are medians of interleaved repeats, in milliseconds a step and seed. `lax` (plain
`lax.conv_general_dilated`) needs minutes in a CPU scan: leave it out with `--forms matmul shifts`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import tyro
from jax import lax

from benchmarks.timing import interleaved, medians
from jaxmtl.models import conv2d

Function = Callable[[jax.Array, jax.Array, int], jax.Array]

# Map size, input channels, output channels, stride; every kernel is 3x3 with one pixel of padding.
SHAPES = (
  (32, 3, 64, 1),
  (32, 64, 64, 1),
  (16, 128, 128, 1),
  (8, 256, 256, 1),
  (4, 512, 512, 1),
  (2, 512, 512, 1),
  (32, 16, 16, 1),
  (16, 32, 32, 1),
  (8, 64, 64, 1),
  (32, 16, 32, 2),
  (16, 32, 64, 2),
)


@dataclasses.dataclass(frozen=True)
class Config:
  """What to time.

  Args:
    batch: images a step.
    repeats: timed rounds after one warm-up.
    seeds: networks of the mode `seeds`.
    length: steps of a scan.
    modes: among alone, scan, seeds.
    forms: among lax, matmul (conv2d's), shifts, rows, tiles.
    shapes: indices into SHAPES.
  """

  batch: int = 64
  repeats: int = 5
  seeds: int = 3
  length: int = 2
  modes: tuple[str, ...] = ("seeds",)
  forms: tuple[str, ...] = ("lax", "cpu", "shifts", "rows", "tiles")
  shapes: tuple[int, ...] = tuple(range(len(SHAPES)))


def _tap(x: jax.Array, row: int, column: int, count: tuple[int, int], step: int) -> jax.Array:
  """Every step-th pixel from (row, column) on, `count` of them."""
  bottom, right = row + (count[0] - 1) * step + 1, column + (count[1] - 1) * step + 1
  return x[:, row:bottom:step, column:right:step]


def _padded(x: jax.Array, stride: int) -> tuple[jax.Array, tuple[int, int]]:
  """The map with one pixel around it, and the size of the output."""
  size = ((x.shape[1] - 1) // stride + 1, (x.shape[2] - 1) // stride + 1)
  return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), size


def _shifts(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Sum of nine matrix products, one a shift."""
  x, size = _padded(x, stride)
  return sum(_tap(x, i, j, size, stride) @ kernel[i, j] for i in range(3) for j in range(3))


def _rows(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Three columns concatenated, then the sum of three matrix products, one a row."""
  x, (height, width) = _padded(x, stride)
  columns = [x[:, :, j : j + (width - 1) * stride + 1 : stride] for j in range(3)]
  x = jnp.concatenate(columns, axis=-1)
  rows = [x[:, i : i + (height - 1) * stride + 1 : stride] for i in range(3)]
  return sum(row @ kernel[i].reshape(-1, kernel.shape[-1]) for i, row in enumerate(rows))


def _tiles(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """One matrix product to 2x2 outputs at once: 16/9 of the products, 4/9 of the patches' memory."""
  x, (height, width) = _padded(x, stride)
  extent, count = stride + 3, (height // 2, width // 2)
  taps = [_tap(x, i, j, count, 2 * stride) for i in range(extent) for j in range(extent)]
  shifted = [
    jnp.pad(kernel, ((a, stride - a), (b, stride - b), (0, 0), (0, 0)))
    for a in (0, stride)
    for b in (0, stride)
  ]
  features = kernel.shape[-1]
  y = jnp.concatenate(taps, axis=-1) @ jnp.stack(shifted, axis=3).reshape(-1, 4 * features)
  y = y.reshape(x.shape[0], *count, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
  return y.reshape(x.shape[0], height, width, features)


FORMS: dict[str, Function] = {
  "lax": lambda x, k, s: conv2d(x, k, strides=s, padding=1, form="lax"),
  "cpu": lambda x, k, s: conv2d(x, k, strides=s, padding=1, form="cpu"),
  "shifts": _shifts,
  "rows": _rows,
  "tiles": _tiles,
}


def _program(
  config: Config, function: Function, mode: str, shape: tuple[int, ...]
) -> Callable[[], None]:
  """A compiled call of forward and backward passes that depend on each other."""
  size, channels, features, stride = shape

  def step(state, _=None):
    x, kernel = state
    y, pullback = jax.vjp(lambda x, kernel: function(x, kernel, stride), x, kernel)
    return jax.tree.map(lambda p, g: p - 1e-4 * g, state, pullback(jnp.tanh(y))), None

  def scanned(state):
    return lax.scan(step, state, None, length=config.length)[0]

  lead = (config.seeds,) if mode == "seeds" else ()
  x = jax.random.normal(jax.random.key(0), (*lead, config.batch, size, size, channels))
  kernel = 0.02 * jax.random.normal(jax.random.key(1), (*lead, 3, 3, channels, features))
  program = {"alone": lambda s: step(s)[0], "scan": scanned, "seeds": jax.vmap(scanned)}[mode]
  call = jax.jit(program).lower((x, kernel)).compile()
  return lambda: jax.block_until_ready(call((x, kernel)))


def main(config: Config) -> None:
  """Print one row of the Markdown table for every shape and mode."""
  print(f"| shape | mode | {' | '.join(config.forms)} |\n|{' --- |' * (2 + len(config.forms))}")
  for shape in (SHAPES[i] for i in config.shapes):
    for mode in config.modes:
      divisor = {"alone": 1, "scan": config.length, "seeds": config.length * config.seeds}[mode]
      calls = {name: _program(config, FORMS[name], mode, shape) for name in config.forms}
      middle = medians(interleaved(calls, config.repeats))
      cells = " | ".join(f"{1e3 * seconds / divisor:.1f}" for seconds in middle.values())
      size, channels, features, stride = shape
      print(f"| {channels}->{features} @{size} /{stride} | {mode} | {cells} |", flush=True)


if __name__ == "__main__":
  main(tyro.cli(Config))
