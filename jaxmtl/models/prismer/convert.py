"""Variables from published checkpoints, and back."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxmtl.models.pretrained import read_checkpoint
from jaxmtl.models.prismer.config import Config
from jaxmtl.models.prismer.grids import bicubic_matrix
from jaxmtl.models.prismer.model import Prismer
from jaxmtl.models.prismer.names import Key, Place, place_of, to_ours, to_theirs

State = Mapping[str, np.ndarray]

_POSITIONS = "expert_encoder.positional_embedding"
# What the published program stores twice, and where it is too.
TIED = {
  "text_decoder.lm_head.decoder.weight": "text_decoder.roberta.embeddings.word_embeddings.weight",
  "text_decoder.lm_head.decoder.bias": "text_decoder.lm_head.bias",
}
_IDS = "text_decoder.roberta.embeddings.position_ids"
_COUNTERS = r"expert_encoder\.conv1\.(\w+)\.\d+\.num_batches_tracked"


def convert(state: State | str | Path, config: Config) -> dict[str, Any]:
  """Variables of a `Prismer` from a published checkpoint.

  Every tensor is used, or is one that says nothing: batch counters, numbers of positions, and
  copies of the word embeddings, which must be equal. Position embeddings of images of another size
  are resized.

  Args:
    state: arrays by the published names, or the file: `pytorch_model.bin` or `.safetensors`, as
      `models.pretrained.read_checkpoint` reads them, without running what is in them.
    config: of the model.

  Returns:
    Variables, in float32 or the checkpoint's wider type.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if tensors are missing, have no place or another shape, or the output's projection
      is not the table of words; all are named.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, convert
    >>> convert({"lm_head": jnp.ones(2)}, Config.tiny(experts={}))
    Traceback (most recent call last):
    ValueError: the checkpoint does not fit the configuration; missing tensors: expert_encoder...

  Reference: Liu, "Converging Pathways", 2024, section 6.4: the released models.
  """
  what = "the checkpoint" if isinstance(state, Mapping) else str(state)
  found = dict(state) if isinstance(state, Mapping) else read_checkpoint(state)
  found = {name: np.asarray(value) for name, value in found.items()}
  for copy, original in TIED.items():
    if copy in found and original in found and not np.array_equal(found[copy], found[original]):
      raise ValueError(
        f"{what}: {copy} must equal {original}, as the model has one of both; it does not"
      )
  template = shapes(config)
  stems = {key[2].removeprefix("stem_") for key in template if key[2].startswith("stem_")}
  needless = {*TIED, _IDS} | {
    name for name in found if (m := re.fullmatch(_COUNTERS, name)) and m[1] in stems
  }
  places = {key: place_of(key) for key in template}
  return traverse_util.unflatten_dict(place(what, template, places, found, needless))


def place(
  what: str,
  template: Mapping[Key, Any],
  places: Mapping[Key, Place],
  state: State,
  needless: Iterable[str] = (),
) -> dict[Key, Any]:
  """Variables with tensors in their places; every tensor and every place is accounted for.

  Args:
    what: the checkpoint, for errors.
    template: all variables by path, as arrays, which stay where they have no place, or shapes.
    places: the tensors of variables.
    state: the tensors.
    needless: names of tensors that are not used.

  Returns:
    Variables by path.

  Raises:
    ValueError: if a tensor is missing, has no place, or has another shape.

  Example:
    >>> import jax, numpy as np
    >>> from jaxmtl.models.prismer.convert import place
    >>> from jaxmtl.models.prismer.names import Place
    >>> key = ("params", "expert_encoder", "bias")
    >>> place("it", {key: jax.ShapeDtypeStruct((2,), "float32")}, {key: Place("b")}, {})
    Traceback (most recent call last):
    ValueError: it does not fit the configuration; missing tensors: b
  """
  placed: dict[Key, Any] = dict(template)
  missing, shaped = {}, {}
  for key, (name, part) in places.items():
    if name not in state:
      missing[name] = name
      continue
    wanted = to_theirs(key, np.broadcast_to(0, template[key].shape)).shape
    whole = wanted if part is None else (3 * wanted[0], *wanted[1:])
    tensor = _floats(state[name])
    if key[-1] == _POSITIONS.split(".")[-1]:
      tensor = _resize(tensor, whole)
    if tensor.shape != whole:
      shaped[name] = f"{name} {tensor.shape}, needed {whole}"
    else:
      placed[key] = jnp.asarray(to_ours(key, tensor, part))
  known = {name for name, _ in places.values()} | set(needless)
  problems = {
    "missing tensors": missing.values(),
    "tensors of another shape": shaped.values(),
    "tensors without a place": sorted(set(state) - known),
  }
  if lines := [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]:
    raise ValueError(f"{what} does not fit the configuration; " + "; ".join(lines))
  return placed


def to_published(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Name variables as the published program does, the inverse of `convert`.

  Its `load_state_dict` finds all that it asks for, copies and counters too.

  Args:
    variables: of a `Prismer`.

  Returns:
    Arrays by name, in PyTorch's layouts; a file by `safetensors.numpy.save_file`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config, to_published
    >>> from jaxmtl.models.prismer.convert import shapes
    >>> from flax.traverse_util import unflatten_dict
    >>> variables = {k: jnp.zeros(v.shape) for k, v in shapes(Config.tiny(experts={})).items()}
    >>> to_published(unflatten_dict(variables))["expert_encoder.conv1.rgb.weight"].shape
    (32, 3, 8, 8)
  """
  parts: dict[str, dict[int, np.ndarray]] = {}
  for key, leaf in traverse_util.flatten_dict(dict(variables)).items():
    name, part = place_of(key)
    parts.setdefault(name, {})[part or 0] = to_theirs(key, np.asarray(leaf))
  state = {
    name: np.ascontiguousarray(np.concatenate([found[i] for i in sorted(found)]))
    for name, found in parts.items()
  }
  for name in [name for name in state if name.endswith(".running_var")]:
    state[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
  for copy, original in TIED.items():
    state[copy] = state[original].copy()
  positions = len(state["text_decoder.roberta.embeddings.position_embeddings.weight"])
  state[_IDS] = np.arange(positions)[None]
  return state


def shapes(config: Config) -> dict[Key, jax.ShapeDtypeStruct]:
  """Shapes of all variables by their path, without computing any.

  Args:
    config: of the model.

  Returns:
    Shapes by collection, modules and leaf.

  Example:
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.convert import shapes
    >>> shapes(Config.tiny(experts={}))["params", "text_decoder", "lm_bias"].shape
    (60,)
  """
  return dict(_shapes(config))


@functools.cache
def _shapes(config: Config) -> dict[Key, jax.ShapeDtypeStruct]:
  ids, side = jax.ShapeDtypeStruct((1, 1), jnp.int32), config.image_size
  experts = {"rgb": jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)}
  key = jax.eval_shape(lambda: jax.random.key(0))
  found = jax.eval_shape(Prismer(config).init, key, experts, ids, ids)
  return traverse_util.flatten_dict(dict(found))


def _floats(tensor: np.ndarray) -> np.ndarray:
  """Numbers of half precision as float32."""
  tensor = np.asarray(tensor)
  return tensor if tensor.dtype == np.float64 else tensor.astype(np.float32)


def _resize(table: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """A square table of positions on another square grid."""
  if table.ndim != 2 or table.shape == shape or table.shape[1] != shape[1]:
    return table
  old, new = math.isqrt(len(table)), math.isqrt(shape[0])
  if old * old != len(table):
    return table
  matrix = bicubic_matrix(old, new)
  maps = np.einsum("hi,wj,ijd->hwd", matrix, matrix, table.reshape(old, old, -1), optimize=True)
  return maps.reshape(shape).astype(table.dtype)
