"""Which platform's forms a program takes that is traced now."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")
_given: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


def on_cpu(*values: Any) -> bool:
  """Whether a program takes the CPU's forms, decided while it is traced: the one place where it is.

  By `forms_for`, else by the platform of the mesh that values are sharded over or of the device
  that one was put on, else by the mesh in use (`jax.set_mesh`), `jax.default_device`, and JAX's
  first device.

  Args:
    values: arrays, or types of arrays, of the computation in question.
  """
  return _platform(values) == "cpu"


def on_tpu(*values: Any) -> bool:
  """The same of a TPU's forms, where they are not those of all accelerators."""
  return _platform(values) == "tpu"


@contextlib.contextmanager
def forms_for(platform: str) -> Iterator[None]:
  """Traces in the forms of another platform than the arguments', such as to export for it.

  Convolutions, Gramians, loops over tasks and small solvers have a form for CPUs and another one
  for accelerators. What is traced within takes those of `platform`. Without it they follow the
  arguments: a step that is lowered for arguments sharded over a mesh of TPUs, on any host, takes
  the TPU's. JAX does not trace again what it has traced before with arguments of the same types:
  give it a new function.

  Args:
    platform: "cpu", "gpu", "cuda", "rocm" or "tpu".

  Raises:
    ValueError: for another platform.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import jaxmtl
    >>> def step(params, batch):
    ...   return jaxmtl.task_value_and_grad(lambda p, x: p @ x)(params, batch)
    >>> export = jax.export.export(jax.jit(step), platforms=["tpu"])
    >>> with jaxmtl.forms_for("tpu"):
    ...   exported = export(jnp.ones((3, 2)), jnp.ones(2))
    >>> exported.platforms
    ('tpu',)
  """
  if platform not in ("cpu", "gpu", "cuda", "rocm", "tpu"):
    raise ValueError(f"platform must be cpu, gpu, cuda, rocm or tpu, got {platform!r}.")
  token = _given.set(platform)
  try:
    yield
  finally:
    _given.reset(token)


def portable(fn: Callable[P, R]) -> Callable[P, R]:
  """Makes a function take the forms of whatever platform its program is lowered for.

  For programs exported to several platforms at once. It is traced twice, as on a CPU and as on an
  accelerator, and a platform's program holds its own part alone; compile times grow by the second
  trace. A program for one platform needs it not: see `forms_for`.

  Args:
    fn: of arrays, or pytrees of them, by position.

  Returns:
    A function of the same arguments.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import jaxmtl
    >>> step = jaxmtl.portable(jaxmtl.task_value_and_grad(lambda p, x: p @ x))
    >>> exported = jax.export.export(jax.jit(step), platforms=["cpu", "tpu"])(
    ...   jnp.ones((3, 2)), jnp.ones(2))
    >>> losses, _ = exported.call(jnp.ones((3, 2)), jnp.ones(2))
    >>> losses.tolist()
    [2.0, 2.0, 2.0]
  """

  def traced_for(platform: str) -> Callable[P, R]:
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
      with forms_for(platform):
        return fn(*args, **kwargs)

    return call

  def either(*args: P.args, **kwargs: P.kwargs) -> R:
    if kwargs:
      raise TypeError(
        f"portable functions take arguments by position, got {sorted(kwargs)} by name."
      )
    return jax.lax.platform_dependent(*args, cpu=traced_for("cpu"), default=traced_for("gpu"))

  return either


def partitioned(*values: Any) -> bool:
  """Whether the compiler spreads a computation over several devices.

  It does where an array is sharded over a mesh of several, but for axes that `jax.shard_map` has
  made local already, or that types of arrays tell about.
  """
  for value in values:
    mesh = getattr(jax.typeof(value).sharding, "mesh", None)
    if mesh is not None and not mesh.empty and mesh.size > 1:
      return bool(mesh.are_all_axes_auto)
  return False


def _platform(values: tuple[Any, ...]) -> str:
  if given := _given.get():
    return given
  meshes = []
  for value in values:
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer) and value.committed:
      return next(iter(value.devices())).platform
    kind = value if isinstance(value, jax.core.ShapedArray) else jax.typeof(value)
    meshes.append(getattr(getattr(kind, "sharding", None), "mesh", None))
  for mesh in (*meshes, jax.sharding.get_abstract_mesh()):
    # None where the mesh is of no devices yet; an empty one where nothing is sharded.
    if device := getattr(mesh, "abstract_device", None):
      return device.platform
  # A device, a platform's name, or None: the first of JAX's devices then.
  device = jax.config.jax_default_device  # type: ignore[attr-defined]
  device = device or jax.local_devices()[0]
  return getattr(device, "platform", device)
