"""A state dict from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl.models.pretrained.torch_file import read_torch

if TYPE_CHECKING:
  import safetensors
  import safetensors.numpy as tensors
else:
  safetensors = Optional("safetensors", "models", __name__)
  tensors = Optional("safetensors.numpy", "models", __name__)

# Where training programs keep the state dict beside other things.
_NESTED = ("state_dict", "model", "model_state_dict", "module")
_DEPTH = 8
_TYPES = "save them as float16, bfloat16 or float32"


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
  """Read the tensors of a checkpoint by name, without executing anything that it holds.

  Args:
    path: A `.safetensors` file, or any other that `torch.save` wrote as a zip archive (`.pth`,
      `.pt`, `.bin`): a state dict, or a dictionary with it under `state_dict`, `model`,
      `model_state_dict` or `module`. The prefix `module.` of all names, which parallel training
      adds, is removed.

  Returns:
    Arrays by name, in the file's dtypes.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is no such file, or holds something else than tensors.

  Example:
    >>> import tempfile, numpy as np
    >>> from safetensors.numpy import save_file
    >>> from jaxmtl.models.pretrained import read_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   save_file({"fc.bias": np.ones(3)}, f"{folder}/net.safetensors")
    ...   read_checkpoint(f"{folder}/net.safetensors")
    {'fc.bias': array([1., 1., 1.])}
  """
  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no checkpoint at {path}")
  if path.suffix == ".safetensors":
    try:
      state = tensors.load_file(path)
    except safetensors.SafetensorError as error:
      raise ValueError(f"{path} is no safetensors file: {error}") from error
    except (AttributeError, KeyError) as error:  # what it has no NumPy type for
      raise ValueError(
        f"{path} has tensors of a type that is not read ({error}); {_TYPES}"
      ) from None
  else:
    state = _state_dict(read_torch(path), path)
  if state and all(name.startswith("module.") for name in state):
    state = {name.removeprefix("module."): value for name, value in state.items()}
  return state


def _state_dict(saved: Any, path: Path) -> dict[str, np.ndarray]:
  """The mapping from names to arrays within what was saved."""
  for _ in range(_DEPTH):  # a dictionary may hold itself
    if not isinstance(saved, Mapping):
      raise ValueError(f"{path} holds a {type(saved).__name__}, not a state dict")
    if saved and all(isinstance(value, np.ndarray) for value in saved.values()):
      return {str(name): value for name, value in saved.items()}
    inner = next((saved[key] for key in _NESTED if isinstance(saved.get(key), Mapping)), None)
    if inner is None:
      others = [str(name) for name, v in saved.items() if not isinstance(v, np.ndarray)]
      raise ValueError(f"{path} holds no state dict; {others[:5]} are no tensors")
    saved = inner
  raise ValueError(f"{path} holds no state dict within {_DEPTH} dictionaries")
