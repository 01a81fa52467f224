"""Which parameters are trained."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import traverse_util

_MODES = {
  "none": (),
  "freeze_lang": ("text_decoder",),
  "freeze_vision": ("expert_encoder",),
  "freeze_lang_vision": ("expert_encoder", "text_decoder"),
}
# What is new within the blocks of the backbones.
_NEW = ("adaptor", "cross_attention", "cross_norm")
_BLOCKS = {"expert_encoder": "block_", "text_decoder": "layer_"}


def trainable(variables: Mapping[str, Any], freeze: str = "freeze_lang_vision") -> dict[str, Any]:
  """A mask for optax: which parameters are trained where backbones are frozen.

  Frozen are the blocks of CLIP's transformer and the layers of RoBERTa, without what Prismer put
  into them: adaptors and cross-attention. Embeddings, outer normalizations, the last layer and all
  other parts are always trained. The published models were pre-trained with both backbones frozen
  and fine-tuned with the vision encoder's.

  An optimiser must not see frozen parameters, and no gradient may reach them: by
  `optax.partition({True: optimizer, False: optax.set_to_zero()}, mask)` it holds no state for them.
  XLA leaves their gradients out of the program where nothing reads them; a train step's gradient
  norm does, unless the loss takes its parameters through `stop_frozen`.

  Args:
    variables: of a `Prismer`, arrays or shapes.
    freeze: `"none"`, `"freeze_lang"`, `"freeze_vision"` or `"freeze_lang_vision"`.

  Returns:
    Bools in the shape of `variables["params"]`.

  Raises:
    ValueError: if `freeze` is unknown.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, Prismer, trainable
    >>> model, ids = Prismer(Config.tiny(experts={})), jnp.ones((1, 3), jnp.int32)
    >>> experts = {"rgb": jnp.ones((1, 32, 32, 3))}
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), experts, ids, ids)
    >>> block = trainable(variables, "freeze_vision")["expert_encoder"]["block_0"]
    >>> block["ln_1"]["bias"], block["adaptor"]["up"]["bias"]
    (False, True)

  Reference: Liu, "Converging Pathways", 2024, sections 6.3 and 6.6.
  """
  if freeze not in _MODES:
    raise ValueError(f"freeze must be one of {', '.join(_MODES)}, got {freeze!r}")

  def trained(path: tuple[str, ...]) -> bool:
    part, block, inner = path[0], path[1], path[2] if len(path) > 2 else ""
    return part not in _MODES[freeze] or not block.startswith(_BLOCKS[part]) or inner in _NEW

  flat = traverse_util.flatten_dict(dict(variables["params"]))
  return traverse_util.unflatten_dict({path: trained(path) for path in flat})


def stop_frozen(params: Any, mask: Any) -> Any:
  """Parameters of which only the trained ones have a gradient; for the loss.

  A train step's gradient norm would ask for the others', a quarter of the work where both
  backbones are frozen.

  Args:
    params: a pytree of arrays.
    mask: bools of the same shape, as `trainable` gives them.

  Returns:
    The same values; gradients of frozen leaves are zero and not computed.

  Example:
    >>> import jax
    >>> from jaxmtl.models.prismer import stop_frozen
    >>> def loss(params):
    ...   params = stop_frozen(params, {"old": False, "new": True})
    ...   return params["old"] * params["new"]
    >>> found = jax.grad(loss)({"old": 2.0, "new": 3.0})
    >>> float(found["old"]), float(found["new"])
    (0.0, 2.0)

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """

  def kept(leaf: Any, learns: bool) -> Any:
    return leaf if learns else jax.lax.stop_gradient(leaf)

  return jax.tree.map(kept, params, mask)
