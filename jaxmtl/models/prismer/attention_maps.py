"""Where the resampler looks: its attention over the labels of each expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.prismer.decoding import Variables
from jaxmtl.models.prismer.experts import inputs_of, stem_of
from jaxmtl.models.prismer.model import Prismer
from jaxmtl.models.prismer.stems import Stem


def expert_attention(
  model: Prismer, variables: Variables, experts: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
  r"""Attention weights of the resampler's latents over the tokens of each expert.

  A latent's weights over all experts and over the latents themselves sum to 1 in each head.

  Args:
    model: the Prismer.
    variables: its variables.
    experts: as of `Prismer.encode`.

  Returns:
    By expert float `[B, blocks, heads, latents, h, w]`, h and w the grid of its tokens; empty if no
    expert was given.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, Prismer, expert_attention
    >>> from jaxmtl.models.prismer.convert import shapes
    >>> from flax.traverse_util import unflatten_dict
    >>> config = Config.tiny(experts={"depth": 1})
    >>> experts = {"rgb": jnp.ones((1, 32, 32, 3)), "depth": jnp.ones((1, 32, 32, 1))}
    >>> call = lambda variables: expert_attention(Prismer(config), variables, experts)
    >>> jax.eval_shape(call, unflatten_dict(shapes(config)))["depth"].shape
    (1, 2, 4, 6, 4, 4)

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """
  config = model.config
  names = [name for name, _ in inputs_of(config, experts)]
  if not names:
    return {}

  def wanted(module: nn.Module, method: str) -> bool:
    if method != "__call__":
      return False
    return isinstance(module, Stem) or (
      "resampler" in module.path and module.name in ("query", "key")
    )

  _, found = model.apply(
    variables, experts, method="encode", capture_intermediates=wanted, mutable=["intermediates"]
  )
  seen: Any = found["intermediates"]["expert_encoder"]
  grids = _grids(seen, names)
  weights = []
  for i in range(config.resampler_layers):
    kept = seen["resampler"][f"block_{i}"]["attention"]
    q, k = (_heads(kept[part]["__call__"][0], config.resampler_heads) for part in ("query", "key"))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    weights.append(jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32))))
  whole = jnp.stack(weights, axis=1)
  result, first = {}, config.resampler_latents  # latents come before the experts' tokens
  for name in names:
    height, width = grids[name]
    part = whole[..., first : first + height * width]
    result[name] = part.reshape(*part.shape[:-1], height, width)
    first += height * width
  return result


def _grids(seen: Any, names: list[str]) -> dict[str, tuple[int, int]]:
  """Height and width of each expert's tokens; segmentations go through one stem in turn."""
  of_stem = {stem: list(seen[f"stem_{stem}"]["__call__"]) for stem in map(stem_of, names)}
  return {name: of_stem[stem_of(name)].pop(0).shape[1:3] for name in names}


def _heads(x: jax.Array, count: int) -> jax.Array:
  return x.reshape(*x.shape[:-1], count, -1)
