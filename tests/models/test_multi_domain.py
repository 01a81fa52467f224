"""A network shared by domains: each domain's outputs are those of its own merged network."""

import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmtl import models

DOMAINS = 3


@pytest.fixture(scope="module")
def network():
  net = models.multi_domain(models.create("convnet4", width=3), DOMAINS, 4)
  rng = np.random.default_rng(1)
  images = rng.normal(size=(DOMAINS, 5, 8, 8, 1)).astype(np.float32)
  variables = jax.tree.map(np.asarray, jax.jit(net.init)(jax.random.key(0), images[0, 0]))
  # Domains that differ in all that is their own.
  own = {name: variables["params"][name] for name in ("norms", "heads")}
  own = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), own)
  return net, {**variables, "params": {**variables["params"], **own}}, images


@functools.cache
def apply(net, train):
  return jax.jit(lambda variables, images: net.apply(variables, images, train))


@pytest.mark.parametrize("train", [False, True])
def test_each_domain_is_a_network_of_its_own(network, train):
  net, variables, images = network
  logits, statistics = jax.tree.map(np.asarray, apply(net, train)(variables, images))
  params = variables["params"]
  backbone = models.create("convnet4", width=3)
  alone = jax.jit(functools.partial(backbone.apply, train=train, mutable=["batch_stats"]))
  for k in range(DOMAINS):
    norms, heads, before = jax.tree.map(
      lambda x, k=k: x[k], (params["norms"], params["heads"], variables["batch_stats"])
    )
    merged = unflatten_dict(flatten_dict(params["backbone"]) | flatten_dict(norms))
    features, updated = alone({"params": merged, "batch_stats": before}, images[k])
    want = np.asarray(features) @ heads["kernel"] + heads["bias"]
    np.testing.assert_allclose(logits[k], want, rtol=1e-4, atol=1e-5)
    jax.tree.map(
      lambda a, b, k=k: np.testing.assert_allclose(a[k], b, rtol=1e-4, atol=1e-6),
      statistics,
      updated["batch_stats"],
    )


def test_drawn_domains_use_their_own_layers(network):
  net, variables, images = network
  drawn = np.array([2, 0])
  some, _ = jax.jit(lambda v, x, d: net.apply(v, x, True, d))(variables, images[drawn], drawn)
  every, _ = apply(net, True)(variables, images)
  np.testing.assert_allclose(some, np.asarray(every)[drawn], rtol=1e-4, atol=1e-5)


def test_what_is_shared(network):
  _, variables, _ = network
  mask = models.shared_mask(variables["params"])
  shared = {path[0] for path, value in flatten_dict(mask).items() if value}
  assert shared == {"backbone"}
  assert all(path[-1] == "kernel" for path in flatten_dict(variables["params"]["backbone"]))
  with pytest.raises(ValueError, match="num_domains must be at least 1"):
    models.multi_domain(models.create("convnet4"), 0, 5)
