"""What published checkpoints call every parameter."""

import re
from typing import NamedTuple

import numpy as np

Key = tuple[str, ...]

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_PARTS = ("query", "key", "value")
# Ours and theirs, tried in turn; what is behind stays, but for the leaf's name.
_RULES = [
  (r"expert_encoder\.rgb", r"expert_encoder.conv1.rgb"),
  (r"expert_encoder\.stem_(\w+?)\.proj", r"expert_encoder.conv1.\1.13"),
  (r"expert_encoder\.resampler\.block_(\d+)", r"expert_encoder.resampler.perceiver_blocks.\1"),
  (r"expert_encoder\.block_(\d+)\.adaptor", r"expert_encoder.transformer.resblocks.\1.1.adaptor"),
  (r"expert_encoder\.block_(\d+)", r"expert_encoder.transformer.resblocks.\1.0"),
  (
    r"text_decoder\.(word|position|token_type)_embeddings",
    r"text_decoder.roberta.embeddings.\1_embeddings.weight",
  ),
  (r"text_decoder\.embeddings_norm", r"text_decoder.roberta.embeddings.LayerNorm"),
  (r"text_decoder\.layer_(\d+)\.cross_", r"text_decoder.roberta.encoder.layer.\1.1.cross_"),
  (r"text_decoder\.layer_(\d+)\.adaptor", r"text_decoder.roberta.encoder.layer.\1.2.adaptor"),
  (r"text_decoder\.layer_(\d+)", r"text_decoder.roberta.encoder.layer.\1.0"),
  (r"text_decoder\.output_layer", r"text_decoder.roberta.encoder.output_layer"),
  (r"text_decoder\.lm_norm", r"text_decoder.lm_head.layer_norm"),
  (r"text_decoder\.lm_", r"text_decoder.lm_head."),
]
_VISION = [
  (r"\.attention\.out\.", r".attn.out_proj."),
  (r"\.mlp_in\.", r".mlp.c_fc."),
  (r"\.mlp_out\.", r".mlp.c_proj."),
]
_TEXT = [
  (r"\.cross_attention\.out\.", r".output.dense."),
  (r"\.cross_attention\.", r".self."),
  (r"\.cross_norm\.", r".output.LayerNorm."),
  (r"\.attention\.out\.", r".attention.output.dense."),
  (r"\.attention\.(query|key|value)\.", r".attention.self.\1."),
  (r"\.attention_norm\.", r".attention.output.LayerNorm."),
  (r"\.mlp_in\.", r".intermediate.dense."),
  (r"\.mlp_out\.", r".output.dense."),
  (r"\.mlp_norm\.", r".output.LayerNorm."),
]
_ADAPTOR = [
  (r"\.adaptor\.norm\.", r".adaptor_ln."),
  (r"\.adaptor\.(up|down)\.", r".adaptor.\1_proj."),
]


class Place(NamedTuple):
  """Where a variable lies in a checkpoint.

  Attributes:
    name: of the tensor.
    part: which third of it, for queries, keys and values that lie in one tensor; or None.
  """

  name: str
  part: int | None = None


def place_of(path: Key) -> Place:
  """The tensor of a checkpoint in which a variable lies.

  Args:
    path: collection, modules and leaf of a variable of `Prismer`.

  Returns:
    Its place.

  Example:
    >>> from jaxmtl.models.prismer.names import place_of
    >>> place_of(("params", "expert_encoder", "block_3", "attention", "key", "bias"))
    Place(name='expert_encoder.transformer.resblocks.3.0.attn.in_proj_bias', part=1)
    >>> place_of(("batch_stats", "expert_encoder", "stem_depth", "norm_1", "var")).name
    'expert_encoder.conv1.depth.5.running_var'
  """
  name = ".".join((*path[1:-1], _LEAVES.get(path[-1], path[-1])))
  if match := re.fullmatch(r"expert_encoder\.stem_(\w+)\.(conv|norm)_(\d)\.(\w+)", name):
    number = 3 * int(match[3]) + (1 if match[2] == "conv" else 2)
    return Place(f"expert_encoder.conv1.{match[1]}.{number}.{match[4]}")
  for ours, theirs in _RULES:
    name, found = re.subn(f"^{ours}", theirs, name)
    if found:
      break
  vision = path[1] == "expert_encoder"
  for ours, theirs in (*_ADAPTOR, *(_VISION if vision else _TEXT)):
    name = re.sub(ours, theirs, name)
  if vision and path[-2] in _PARTS:
    name = re.sub(r"\.attention\.\w+\.(\w+)$", r".attn.in_proj_\1", name)
    return Place(name, _PARTS.index(path[-2]))
  return Place(name)


def to_ours(path: Key, tensor: np.ndarray, part: int | None) -> np.ndarray:
  """A variable out of its tensor, whose axes are the outputs' before the inputs'.

  Args:
    path: of the variable.
    tensor: of the checkpoint.
    part: as in `Place`.

  Returns:
    The array, a view.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.models.prismer.names import to_ours
    >>> to_ours(("params", "conv_0", "kernel"), np.ones((8, 3, 2, 2)), None).shape
    (2, 2, 3, 8)
  """
  if part is not None:
    tensor = np.split(tensor, len(_PARTS))[part]
  if path[-1] != "kernel":
    return tensor
  return tensor.T if tensor.ndim == 2 else tensor.transpose(2, 3, 1, 0)


def to_theirs(path: Key, array: np.ndarray) -> np.ndarray:
  """The inverse of `to_ours`, for a tensor or its part.

  Args:
    path: of the variable.
    array: the variable.

  Returns:
    The tensor, a view.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.models.prismer.names import to_theirs
    >>> to_theirs(("params", "conv_0", "kernel"), np.ones((2, 2, 3, 8))).shape
    (8, 3, 2, 2)
  """
  if path[-1] != "kernel":
    return array
  return array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
