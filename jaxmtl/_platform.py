"""Which platform's forms a program takes that is traced now."""

import jax


def on_cpu() -> bool:
  """Whether it takes those of the CPU: by `jax.default_device` where set, else by JAX's default.

  Decided while tracing: the one place where it is.
  """
  device = jax.config.jax_default_device  # type: ignore[attr-defined]
  platform = getattr(device, "platform", device)
  return (platform or jax.default_backend()) == "cpu"
