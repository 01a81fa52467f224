"""Methods in the convention of LibMTL beside its own gradients.

`goldens/libmtl.npz` was written by `python -m benchmarks.libmtl --golden`: LibMTL 1.1.5 at our
parameters, after as many steps of its own scales and means.
"""

import pathlib

import jax
import numpy as np
import pytest

from benchmarks import libmtl

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "libmtl.npz"


NAMES = ("UW", "DWA", "GLS", "GradNorm", "MGDA, l2", "IMTL", "GradVac")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_libmtl(name, x64):
  step, gradients = libmtl.ours(name)
  state = step.init(libmtl.first_params(), jax.random.key(0))
  found = []
  for batch in libmtl.batches():
    grads, state, _ = gradients(state, batch)
    found.append(grads)
  with np.load(GOLDEN) as golden:
    # LibMTL's GradNorm weighs the trunk's gradient alone.
    for part in ("trunk",) if name == "GradNorm" else ("trunk", "heads"):
      for i, want in zip(libmtl.KEPT, golden[f"{name} {part}"], strict=True):
        np.testing.assert_allclose(found[i][part], want, atol=1e-5 * np.abs(want).max())
