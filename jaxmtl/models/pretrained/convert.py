"""Variables of a backbone from a checkpoint's tensors, and back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxmtl.models.architecture import HEAD
from jaxmtl.models.multi_head import BACKBONE
from jaxmtl.models.pretrained.files import read_checkpoint
from jaxmtl.models.pretrained.names import (
  CLASSIFIERS,
  DEEPLAB_LAST,
  IGNORED,
  SCHEMES,
  Scheme,
  deeplab_name,
)
from jaxmtl.models.pretrained.positions import resize_positions

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_SHOWN = 8

Key = tuple[str, ...]


def load_pretrained(
  name: str,
  path: str | Path,
  variables: Mapping[str, Any],
  *,
  heads: Sequence[str] = (),
  last: bool = True,
  ignore: Sequence[str] = (),
  resize: bool = True,
  grid: tuple[int, int] | None = None,
) -> dict[str, Any]:
  """Put the weights of a torchvision or timm checkpoint into a backbone's variables.

  Every tensor is accounted for: it becomes a variable, or its name is one of those that features
  do not need (classifiers, batch counters, relative position indices), or in `ignore`; otherwise an
  error names it. So it does variables without a tensor. Which library wrote the file is seen from
  its names. Convolution biases in front of batch normalization (VGG) go into the running mean.
  Of torchvision's segmentation networks (`deeplabv3_resnet50`, `_resnet101`, FCN) the backbone is
  taken, and DeepLabV3's classifier for the `heads` that are named.

  Args:
    name: the backbone's name in `create`.
    path: A `.safetensors` file or one of `torch.save` (zip format), as in `read_checkpoint`. No
      code in it is run.
    variables: the backbone's variables, or those of a `MultiHead` around it, whose heads stay;
      arrays or shapes (from `jax.eval_shape`).
    heads: tasks whose `DeepLabHead` starts from the file's classifier, each from the same one; the
      others stay as they are.
    last: whether these heads' last layer comes from the file too; it must have as many outputs.
      False for other classes or another kind of task: the layer stays as it is.
    ignore: regular expressions that match whole names of further tensors to leave out.
    resize: whether to interpolate position embeddings and relative position biases where images or
      windows have another size than in pre-training; if not, that is an error.
    grid: numbers of rows and columns of patches, for `resize` where images are not square.

  Returns:
    New variables, with the dtypes of the given ones.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if the name is unknown, the file cannot be read, or names or shapes do not fit, or
      `heads` has a task without a head.

  Example:
    >>> import jax, tempfile
    >>> from safetensors.numpy import save_file
    >>> from jaxmtl import models
    >>> backbone = models.create("convnet4", width=4)
    >>> images = jax.numpy.ones((1, 8, 8, 3))
    >>> variables = jax.jit(backbone.init)(jax.random.key(0), images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   save_file(models.to_torch("convnet4", variables), f"{folder}/net.safetensors")
    ...   loaded = models.load_pretrained("convnet4", f"{folder}/net.safetensors", variables)
    >>> jax.tree.structure(loaded) == jax.tree.structure(variables)
    True
  """
  schemes = _schemes(name)
  leaves = dict(_leaves(variables))
  state = read_checkpoint(path)
  candidates = []
  for scheme in schemes.values():
    names = _names(leaves, scheme)
    cleaned = scheme.clean(state)
    candidates.append((sum(n in cleaned for n in names.values()), names, cleaned))
  found, names, state = max(candidates, key=lambda candidate: candidate[0])
  if not found:
    raise ValueError(
      f"{path} has no tensor of {name}: it holds {_list(state)}, not {_list(names.values())}"
    )
  if isinstance(heads, str):
    raise TypeError(f"heads must be a list of tasks, got {heads!r}; write heads=[{heads!r}]")
  for task in heads:
    names |= _head_names(variables, task, last)
  unused = CLASSIFIERS if not heads else () if last else DEEPLAB_LAST
  ignore = (*IGNORED, *unused, *ignore)
  return _place(f"{path} does not fit {name}", variables, names, state, ignore, resize, grid)


def _place(
  what: str,
  variables: Mapping[str, Any],
  names: Mapping[Key, str],
  state: Mapping[str, np.ndarray],
  ignore: Sequence[str],
  resize: bool,
  grid: tuple[int, int] | None,
) -> dict[str, Any]:
  """The variables with these tensors in the named places; every name is accounted for."""
  flat = traverse_util.flatten_dict(dict(variables))
  shapes, missing = [], []
  for key, torch_name in names.items():
    if torch_name not in state:
      missing.append(torch_name)
      continue
    leaf, value = flat[key], state[torch_name]
    wanted = _torch_shape(key, leaf.shape)
    if resize:
      value = resize_positions(torch_name, value, wanted, grid)
    if value.shape != wanted:
      shapes.append(f"{torch_name} {value.shape}, needed {wanted}")
    else:
      flat[key] = jnp.asarray(_transpose(key, value, from_torch=True), leaf.dtype)
  surplus = [
    n
    for n in sorted(set(state) - set(names.values()))
    if not any(re.fullmatch(pattern, n) for pattern in ignore)
  ]
  problems = {
    "missing tensors (is it another architecture?)": missing,
    "tensors of another shape (other options of create, or another network's file?)": shapes,
    "tensors without a place (leave them out by `ignore`)": surplus,
  }
  if lines := [f"{which}: {_list(found)}" for which, found in problems.items() if found]:
    raise ValueError(f"{what}; " + "; ".join(lines))
  return traverse_util.unflatten_dict(flat)


def to_torch(
  name: str, variables: Mapping[str, Any], source: str | None = None
) -> dict[str, np.ndarray]:
  """Name a backbone's variables as torchvision or timm do, the inverse of `load_pretrained`.

  PyTorch takes the result by `model.load_state_dict(..., strict=False)` (a classifier is missing),
  or from a file by `safetensors.numpy.save_file`.

  Args:
    name: the backbone's name in `create`.
    variables: the backbone's variables, or those of a `MultiHead` around it.
    source: `"torchvision"` or `"timm"`; None for the one that has the backbone, torchvision first
      for convolutional networks and timm for others.

  Returns:
    Arrays by name, in PyTorch's layouts.

  Raises:
    ValueError: if the name is unknown, or the library lacks the backbone.

  Example:
    >>> import jax
    >>> from jaxmtl import models
    >>> backbone = models.create("convnet4", width=4)
    >>> variables = jax.jit(backbone.init)(jax.random.key(0), jax.numpy.ones((1, 8, 8, 3)))
    >>> models.to_torch("convnet4", variables)["features.0.weight"].shape
    (4, 3, 3, 3)
  """
  schemes = _schemes(name)
  if source is not None and source not in schemes:
    raise ValueError(f"source must be one of {sorted(schemes)} for {name}, got {source!r}")
  scheme = schemes[source] if source else next(iter(schemes.values()))
  leaves = dict(_leaves(variables))
  state = {
    torch_name: np.ascontiguousarray(_transpose(key, np.asarray(leaves[key]), from_torch=False))
    for key, torch_name in _names(leaves, scheme).items()
  }
  return scheme.complete(state)


def _schemes(name: str) -> dict[str, Scheme]:
  if name not in SCHEMES:
    raise ValueError(f"unknown backbone {name!r}; known: {', '.join(SCHEMES)}")
  return SCHEMES[name]


def _leaves(variables: Mapping[str, Any]) -> Iterator[tuple[Key, Any]]:
  """The backbone's leaves by their path: collection, perhaps `backbone`, modules, leaf."""
  inside = BACKBONE in variables["params"]
  for key, leaf in traverse_util.flatten_dict(dict(variables)).items():
    if not inside or key[1] == BACKBONE:
      yield key, leaf


def _names(leaves: Mapping[Key, Any], scheme: Scheme) -> dict[Key, str]:
  """The library's name of every leaf."""
  ours = {}
  for key in leaves:
    path = key[2:] if key[1] == BACKBONE else key[1:]
    ours[key] = ".".join((*path[:-1], _LEAVES.get(path[-1], path[-1])))
  blocks: dict[int, int] = {}
  for name in ours.values():
    if match := re.match(r"(?:stage|conv)(\d+)(?:_(?:block)?(\d+))?\.", name):
      stage, index = int(match[1]), int(match[2] or 0)
      blocks[stage] = max(blocks.get(stage, 0), index + 1)
  sizes = [blocks[stage] for stage in sorted(blocks)]
  return {key: scheme.rename(name, sizes) for key, name in ours.items()}


def _head_names(variables: Mapping[str, Any], task: str, last: bool) -> dict[Key, str]:
  """Torchvision's name of every leaf of a task's `DeepLabHead`."""
  module = HEAD + task
  found = {}
  for key in traverse_util.flatten_dict(dict(variables)):
    if key[1] == module and (last or key[2] != "last"):
      found[key] = deeplab_name(".".join((*key[2:-1], _LEAVES.get(key[-1], key[-1]))))
  if not found:
    tasks = [name.removeprefix(HEAD) for name in variables["params"] if name.startswith(HEAD)]
    raise ValueError(f"heads must be tasks of the variables, of {tasks}, got {task!r}")
  return found


def _transpose(key: Key, value: np.ndarray, from_torch: bool) -> np.ndarray:
  """Kernels `[kh, kw, in, out]` and `[in, out]` from and to `[out, in, kh, kw]` and `[out, in]`."""
  if key[-1] != "kernel":
    return value
  if value.ndim == 2:
    return value.T
  return value.transpose((2, 3, 1, 0) if from_torch else (3, 2, 0, 1))


def _torch_shape(key: Key, shape: tuple[int, ...]) -> tuple[int, ...]:
  return _transpose(key, np.broadcast_to(0, shape), from_torch=False).shape


def _list(names: Any) -> str:
  names = list(names)
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more
