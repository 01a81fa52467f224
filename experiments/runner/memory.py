"""What a compiled program needs of a device's memory, before it runs."""

from __future__ import annotations

import os
from typing import Any

import jax

_GIB = 2**30


def check_memory(compiled: Any) -> float:
  """How much of each device's memory a program needs, by the compiler's count.

  Args:
    compiled: of `jax.jit(...).lower(...).compile()`.

  Returns:
    Bytes: arguments, results that do not take an argument's place, and all that lies between. 0
    where the compiler does not say.

  Raises:
    MemoryError: if the device has less; the text names what to lower.
  """
  needed, limit = bytes_of(compiled), bytes_at_hand()
  if needed > limit:
    between = compiled.memory_analysis().temp_size_in_bytes
    raise MemoryError(
      f"the program needs {needed / _GIB:.1f} GiB of memory, {between / _GIB:.1f} of them for what "
      f"it computes on the way, and the device has {limit / _GIB:.1f}. Lower --batch-size, the "
      "size of the images or the network's width, or the number of --seeds, which are trained "
      "together; dense prediction also has --remat, --precision bfloat16 and --chunk-size 1."
    )
  return needed


def bytes_of(compiled: Any) -> float:
  """The memory that a program takes while it runs."""
  found = compiled.memory_analysis()
  if found is None:
    return 0
  own = found.output_size_in_bytes - found.alias_size_in_bytes
  return found.argument_size_in_bytes + found.temp_size_in_bytes + own


def bytes_at_hand() -> float:
  """A device's memory: what JAX may take of a GPU or TPU; a share of the machine's for a CPU."""
  device = jax.local_devices()[0]
  if stats := device.memory_stats():
    return stats.get("bytes_limit", float("inf"))
  if device.platform != "cpu" or not hasattr(os, "sysconf"):
    return float("inf")
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / jax.local_device_count()
