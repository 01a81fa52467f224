"""Eight simulated devices, before JAX starts, and double precision on request."""

import os

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
