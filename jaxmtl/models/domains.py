"""One network for several domains, each with its own images, normalization and head."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmtl.models.multi_head import BACKBONE


class MultiDomain(NamedTuple):
  """A network whose convolutions are shared by K domains; a pair of pure functions.

  Attributes:
    init: `(key, image [H, W, C]) -> variables`: `params` with `backbone`, what the domains share,
      and `norms` and `heads`, which have a leading axis of domains, as `batch_stats` has.
    apply: `(variables, images [K, B, H, W, C], train=False, domains=None) -> (logits
      [K, B, classes], batch_stats)`; `domains`, int `[J]`, says which ones J images are of.
  """

  init: Callable[[jax.Array, jax.Array], dict[str, Any]]
  apply: Callable[..., tuple[jax.Array, Any]]


def multi_domain(
  backbone: nn.Module,
  num_domains: int,
  num_classes: int,
  dense: Callable[[int], nn.Module] = nn.Dense,
) -> MultiDomain:
  """Shares a backbone's layers between domains, but for batch normalization.

  Each domain has statistics, scales and shifts of its own in every layer, and a linear head. Images
  of all domains go through each convolution as one batch.

  Args:
    backbone: module called as `backbone(images, train=...)`, giving features `[B, D]`.
    num_domains: K, a static integer.
    num_classes: classes of each domain.
    dense: makes a linear layer of so many outputs, the head; it draws its first weights.

  Returns:
    A `MultiDomain`; `jaxmtl.models.shared_mask` tells its shared parameters.

  Raises:
    ValueError: if there is no domain, or less than two classes.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl import models
    >>> network = models.multi_domain(models.create("convnet4", width=4), 3, num_classes=5)
    >>> images = jnp.ones((3, 2, 8, 8, 1))
    >>> variables = jax.jit(network.init)(jax.random.key(0), images[0, 0])
    >>> jax.jit(network.apply)(variables, images)[0].shape
    (3, 2, 5)

  Reference: Rosenbaum, Klinger and Riemer, "Routing Networks", 2018 (the 20 domains of CIFAR-100);
  Liu et al., "Auto-Lambda", 2022, section 4.2.
  """
  if num_domains < 1 or num_classes < 2:
    raise ValueError(
      f"num_domains must be at least 1 and num_classes at least 2, got {num_domains} and "
      f"{num_classes}."
    )
  head = dense(num_classes)

  def init(key: jax.Array, image: jax.Array) -> dict[str, Any]:
    backbone_key, head_key = jax.random.split(key)
    features, variables = backbone.init_with_output(backbone_key, image[None])
    statistics = variables.get("batch_stats", {})
    # A layer with statistics is a normalization.
    normalized = {path[:-1] for path in flatten_dict(statistics)}
    params = flatten_dict(variables["params"])
    norms = {path: leaf for path, leaf in params.items() if path[:-1] in normalized}
    shared = {path: leaf for path, leaf in params.items() if path not in norms}
    heads = jax.vmap(lambda k: head.init(k, features)["params"])(
      jax.random.split(head_key, num_domains)
    )
    stack = lambda tree: jax.tree.map(lambda x: jnp.stack([x] * num_domains), tree)  # noqa: E731
    return {
      "params": {
        BACKBONE: unflatten_dict(shared),
        "norms": stack(unflatten_dict(norms)),
        "heads": heads,
      },
      "batch_stats": stack(statistics),
    }

  def apply(
    variables: Any, images: jax.Array, train: bool = False, domains: jax.Array | None = None
  ) -> tuple[jax.Array, Any]:
    params = variables["params"]
    own = (params["norms"], params["heads"], variables["batch_stats"])
    if domains is not None:
      own = jax.tree.map(lambda leaf: leaf[domains], own)

    def one(norms: Any, heads: Any, statistics: Any, images: jax.Array) -> tuple[jax.Array, Any]:
      merged = unflatten_dict(flatten_dict(params[BACKBONE]) | flatten_dict(norms))
      features, updated = backbone.apply(
        {"params": merged, "batch_stats": statistics}, images, train=train, mutable=["batch_stats"]
      )
      return head.apply({"params": heads}, features), updated.get("batch_stats", {})  # type: ignore[return-value]

    return jax.vmap(one)(*own, images)

  return MultiDomain(init, apply)
