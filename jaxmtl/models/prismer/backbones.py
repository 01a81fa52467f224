"""A fresh Prismer around published backbones: CLIP's visual tower and RoBERTa."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxmtl.models.pretrained import read_checkpoint
from jaxmtl.models.prismer.config import Config
from jaxmtl.models.prismer.convert import TIED, State, place, shapes
from jaxmtl.models.prismer.model import Prismer
from jaxmtl.models.prismer.names import Key, Place, place_of

# CLIP's tensors that have no place here: the class token and what follows its output.
_CLIP_NEEDLESS = {"visual.class_embedding", "visual.proj"}
_ROBERTA_NEEDLESS = r"(roberta\.)?(pooler\..*|embeddings\.position_ids)|classifier\..*"
# Hugging Face's names of CLIP's visual tower, and OpenAI's.
_HUGGING_FACE = [
  (r"embeddings\.class_embedding", "class_embedding"),
  (r"embeddings\.patch_embedding\.weight", "conv1.weight"),
  (r"embeddings\.position_embedding\.weight", "positional_embedding"),
  (r"pre_layrnorm\.", "ln_pre."),
  (r"post_layernorm\.", "ln_post."),
  (r"encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"transformer.resblocks.\1.ln_\2."),
  (r"encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
  (r"encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
  (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"transformer.resblocks.\1.attn.out_proj."),
]


def from_backbones(
  clip: State | str | Path, roberta: State | str | Path, config: Config, key: jax.Array
) -> dict[str, Any]:
  """Variables of a `Prismer` whose backbones are pre-trained and whose other parts are new.

  Adaptors start near zero, so that the vision encoder of a PrismerZ does at first what CLIP's does,
  without its class token.

  Args:
    clip: arrays by name, or their file, of CLIP's vision transformer by OpenAI's names (`visual.*`)
      or Hugging Face's (`vision_model.*`, or those of the tower alone); others, such as the text
      tower's, are left out.
    roberta: the same of RoBERTa with its language model's head, by Hugging Face's names.
    config: of the model. Position embeddings are resized to `image_size`.
    key: for the new parts.

  Returns:
    Variables, in float32 or the checkpoints' wider type.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if tensors are missing, have no place or another shape; all are named.

  Example:
    >>> import jax
    >>> from jaxmtl.models.prismer import Config, from_backbones
    >>> from_backbones({}, {}, Config.tiny(experts={}), jax.random.key(0))
    Traceback (most recent call last):
    ValueError: clip does not fit the configuration; missing tensors: visual...

  References: Liu, "Converging Pathways", 2024, section 6.3; Radford et al., "Learning Transferable
  Visual Models From Natural Language Supervision", 2021; Liu et al., "RoBERTa", 2019.
  """
  tower = _clip(_read(clip))
  language = _roberta(_read(roberta))
  if "visual.positional_embedding" in tower:  # the first is the class token's
    tower["visual.positional_embedding"] = tower["visual.positional_embedding"][1:]
  template = shapes(config)
  theirs: tuple[dict, dict] = {}, {}
  for path in template:
    name, part = place_of(path)
    if source := _source(name):
      theirs[path[1] == "text_decoder"][path] = Place(source, part)
  named = [
    what if isinstance(given, Mapping) else f"{what} {given}"
    for what, given in (("clip", clip), ("roberta", roberta))
  ]
  flat = place(named[0], template, theirs[0], tower, _CLIP_NEEDLESS)
  copies = {copy.removeprefix("text_decoder.") for copy in TIED}
  needless = copies | {name for name in language if re.fullmatch(_ROBERTA_NEEDLESS, name)}
  flat = place(named[1], flat, theirs[1], language, needless)
  placed = {path for found in theirs for path in found}

  @jax.jit
  def new(key: jax.Array) -> dict[Key, jax.Array]:
    """Of all first values, those of the new parts: XLA leaves the others out."""
    image, ids = (
      jnp.zeros((1, *[config.image_size] * 2, 3), jnp.float32),
      jnp.ones((1, 1), jnp.int32),
    )
    variables = Prismer(config).init(key, {"rgb": image}, ids, ids)
    leaves = traverse_util.flatten_dict(dict(variables))
    return {path: leaf for path, leaf in leaves.items() if path not in placed}

  return traverse_util.unflatten_dict({**flat, **new(key)})


def _read(state: State | str | Path) -> dict[str, np.ndarray]:
  return dict(state) if isinstance(state, Mapping) else read_checkpoint(state)


def _source(name: str) -> str | None:
  """The backbone's name of a tensor of Prismer; None for what is new."""
  part, _, inner = name.partition(".")
  if part == "text_decoder":
    if "output_layer" in inner or re.search(r"\.layer\.\d+\.[12]\.", inner):
      return None
    return re.sub(r"\.layer\.(\d+)\.0\.", r".layer.\1.", inner)
  if inner == "conv1.rgb.weight":
    return "visual.conv1.weight"
  if match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(\d)\.(.*)", inner):
    return f"visual.transformer.resblocks.{match[1]}.{match[3]}" if match[2] == "0" else None
  new = re.match(r"conv1|resampler|instance_embedding", inner)
  return None if new else f"visual.{inner}"


def _clip(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The visual tower by OpenAI's names."""
  if "embeddings.patch_embedding.weight" in state:  # the tower alone, as newer versions save it
    state = {f"vision_model.{name}": value for name, value in state.items()}
  if not any(name.startswith("vision_model.") for name in state):
    return {name: value for name, value in state.items() if name.startswith("visual.")}
  tower: dict[str, np.ndarray] = {}
  for name, value in state.items():
    if not name.startswith("vision_model.") or name.endswith("position_ids"):
      continue
    inner = name.removeprefix("vision_model.")
    for ours, theirs in _HUGGING_FACE:
      inner = re.sub(f"^{ours}", theirs, inner)
    tower[f"visual.{inner}"] = value
  pattern = r"(visual)\.encoder\.layers\.(\d+)\.self_attn\.q_proj\.(\w+)"
  for match in filter(None, [re.fullmatch(pattern, name) for name in tower]):
    names = [match[0].replace("q_proj", f"{part}_proj") for part in "qkv"]
    if all(name in tower for name in names):
      fused = f"visual.transformer.resblocks.{match[2]}.attn.in_proj_{match[3]}"
      tower[fused] = np.concatenate([np.asarray(tower.pop(name)) for name in names])
  return tower


def _roberta(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The language model, whose file may be that of its body alone but for the head's names."""
  return {
    name if name.startswith(("roberta.", "lm_head.", "classifier.")) else f"roberta.{name}": value
    for name, value in state.items()
  }
