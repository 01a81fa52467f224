"""Eight simulated devices and quick compilation, before JAX starts; double precision on request."""

import importlib.metadata
import os

# The tests' time is compilation. XLA's costly passes change speed, not results, and the experiment
# that CI runs has them. As an environment variable it reaches the processes that tests start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones do not know the flag
  # XLA's older emitters compile in half the time.
  flags = os.environ.get("XLA_FLAGS", "")
  os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()

import jax
import pytest

if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture
def x64():
  """Double precision within one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def mesh():
  """Eight devices in a row, axis `data`."""
  if jax.device_count() < 8:
    pytest.skip("needs 8 devices")
  return jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
