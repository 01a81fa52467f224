"""What a published checkpoint is of: its sizes from the shapes of its tensors."""

from __future__ import annotations

import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import safetensors

from jaxmtl.models import prismer

PRISMER = "prismer"
"""The name of the configuration in files of ours, and of the kind of network."""
LABELS = "labels"
"""In files of ours: the experts whose labels the network was trained with."""
_RESAMPLER_HEADS = 8
_HEAD = 64  # channels of a head in CLIP and RoBERTa


def metadata_of(path: pathlib.Path) -> Mapping[str, str]:
  """What a file of ours says beside its tensors; nothing of others."""
  if path.suffix != ".safetensors":
    return {}
  with safetensors.safe_open(path, "np") as file:
    return file.metadata() or {}


def config_from(fields: Any, what: str, **more: Any) -> prismer.Config:
  """The configuration that a file of ours describes.

  Args:
    fields: by name.
    what: the file, for messages.
    more: further fields.

  Raises:
    ValueError: naming the file, if there is a field too many or too few.
  """
  try:
    return prismer.Config(**fields, **more)
  except TypeError as error:
    raise ValueError(f"{what} describes no Prismer: {error}.") from None


def config_of(
  state: Mapping[str, Any], what: str, metadata: Mapping[str, str] | None = None
) -> prismer.Config:
  """The configuration of a checkpoint by the published names.

  Heads are not seen in shapes: they have 64 channels, of the resampler there are 8, as in the
  published ones; narrower networks are taken to have 4 and 4.

  Args:
    state: arrays by name.
    what: the file, for messages.
    metadata: what a file of ours says: all of it.

  Raises:
    ValueError: naming it, if a tensor is missing that every Prismer has.
  """
  if metadata and PRISMER in metadata:
    try:
      fields = json.loads(metadata[PRISMER])
    except json.JSONDecodeError as error:
      raise ValueError(f"{what} describes no Prismer: {error}.") from None
    return config_from(fields, what)

  def shape(name: str) -> tuple[int, ...]:
    if name not in state:
      raise ValueError(f"{what} is no checkpoint of Prismer: it has no {name}.")
    return tuple(state[name].shape)

  def count(pattern: str) -> int:
    found = {int(m[1]) for name in state if (m := re.match(pattern, name))}
    return len(found)

  text = "text_decoder.roberta."
  width, _, patch, _ = shape("expert_encoder.conv1.rgb.weight")
  grid = math.isqrt(shape("expert_encoder.positional_embedding")[0])
  words, text_width = shape(f"{text}embeddings.word_embeddings.weight")
  stems = {
    m[1]: leaf.shape[1]
    for name, leaf in state.items()
    if (m := re.fullmatch(r"expert_encoder\.conv1\.(\w+)\.\d+\.weight", name))
    and leaf.ndim == 4
    # Of the stem's convolutions the first has the fewest outputs.
    and leaf.shape[0] == width // 8
  }
  layer = f"{text}encoder.layer."
  sizes: dict[str, Any] = {
    "image_size": grid * patch,
    "patch_size": patch,
    "vision_width": width,
    "vision_layers": count(r"expert_encoder\.transformer\.resblocks\.(\d+)\."),
    "text_width": text_width,
    "text_layers": count(re.escape(layer) + r"(\d+)\."),
    "text_mlp_width": shape(f"{layer}0.0.intermediate.dense.weight")[0],
    "vocab_size": words,
    "max_positions": shape(f"{text}embeddings.position_embeddings.weight")[0],
    "vision_heads": width // _HEAD if width % _HEAD == 0 else 4,
    "text_heads": text_width // _HEAD if text_width % _HEAD == 0 else 4,
    "experts": {name: stems[name] for name in (*prismer.EXPERTS, *stems) if name in stems},
  }
  if stems:
    sizes["resampler_latents"] = shape("expert_encoder.resampler.latents")[0]
    sizes["resampler_layers"] = count(r"expert_encoder\.resampler\.perceiver_blocks\.(\d+)\.")
    sizes["resampler_heads"] = _RESAMPLER_HEADS if width % _HEAD == 0 else 4
  if "obj_detection" in stems:
    sizes["num_instances"] = shape("expert_encoder.instance_embedding")[0]
  return prismer.Config(**sizes)
