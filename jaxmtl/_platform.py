"""Which platform's forms a program takes that is traced now."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_given: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


def on_cpu() -> bool:
  """Whether it takes the CPU's: by `forms_of`, else `jax.default_device`, else JAX's default.

  Decided while tracing: the one place where it is.
  """
  device = jax.config.jax_default_device  # type: ignore[attr-defined]
  platform = _given.get() or getattr(device, "platform", device)
  return (platform or jax.default_backend()) == "cpu"


@contextlib.contextmanager
def forms_of(platform: str) -> Iterator[None]:
  """Traces for another platform than the one that is there, to compile for it ahead of time.

  What JAX has traced before stays as it is: give it new functions.
  """
  token = _given.set(platform)
  try:
    yield
  finally:
    _given.reset(token)
