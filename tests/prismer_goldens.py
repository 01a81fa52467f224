"""Values of the released Prismer's program, in double precision, on a tiny random model."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.models import prismer

FILE = np.load(pathlib.Path(__file__).parent / "goldens" / "prismer.npz")
STATE = {name.removeprefix("params/"): FILE[name] for name in FILE.files if "params/" in name}


def want(name):
  return FILE[f"outputs/{name}"]


def given(name):
  return FILE[f"inputs/{name}"].astype(np.int32)


def wide(tree):
  """In double precision."""
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def variables(state=STATE, **changes):
  return wide(prismer.convert(state, prismer.Config.tiny(**changes)))


def experts(prefix="", rgb="rgb"):
  """Channels last, not in the configuration's order."""
  names = {"obj_detection": "obj_label", "normal": "normal", "depth": "depth"}
  out = {
    name: jnp.asarray(FILE[f"inputs/{prefix}{key}"].transpose(0, 2, 3, 1), jnp.float64)
    for name, key in names.items()
  }
  out["obj_instance"] = jnp.asarray(given(f"{prefix}obj_instance")[:, 0])
  out["rgb"] = jnp.asarray(FILE[f"inputs/{rgb}"].transpose(0, 2, 3, 1), jnp.float64)
  return out


def rows(prefix=""):
  table = np.full(256, 127)
  table[given(f"{prefix}instance_values")] = given(f"{prefix}instance_embedding_index")
  return jnp.asarray(table)


def near(found, expected, tolerance=1e-9):
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
