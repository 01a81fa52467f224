"""Tensors out of the files that `torch.save` writes, without PyTorch and without running code.

Such a file is a zip archive: a pickle of the structure, and one raw file for each storage. A pickle
may call anything that it names. The unpickler here knows ordered dictionaries, storages and the two
functions that make tensors of storages, its own versions of them, and refuses every other name.
"""

import collections
import io
import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES = {
  "torch.BFloat16Storage": "bfloat16",
  "torch.BoolStorage": "bool",
  "torch.ByteStorage": "uint8",
  "torch.CharStorage": "int8",
  "torch.DoubleStorage": "float64",
  "torch.FloatStorage": "float32",
  "torch.HalfStorage": "float16",
  "torch.IntStorage": "int32",
  "torch.LongStorage": "int64",
  "torch.ShortStorage": "int16",
}
_ZIP = b"PK\x03\x04"
_SAVE = "in PyTorch, save the state dict alone: torch.save(model.state_dict(), path)"


class _Files:
  """The files of an archive, not packed, as PyTorch writes them; together no larger than it is.

  So neither what unpacks to a thousandfold nor parts that lie one upon the other fill the memory.
  """

  def __init__(self, archive: zipfile.ZipFile, most: int) -> None:
    self.names = frozenset(archive.namelist())
    self._archive, self._left = archive, most

  def read(self, name: str) -> bytes:
    """All of a file."""
    info = self._archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
      raise ValueError(f"{name} in it is packed, which torch.save never does; {_SAVE}")
    self._left -= info.file_size
    if self._left < 0:
      raise ValueError(f"{name} and others in it are larger than the file together")
    return self._archive.read(info)


class _Storage(NamedTuple):
  """The numbers that tensors share."""

  values: np.ndarray


def read_torch(path: str | Path) -> Any:
  """Read what `torch.save` wrote, tensors as NumPy arrays, without executing pickled code.

  Args:
    path: the file, a zip archive as PyTorch writes since version 1.6.

  Returns:
    The saved structure of dictionaries, lists, numbers, strings and arrays, which cannot be written
    to: those that share numbers in the file do so here.

  Raises:
    ValueError: if the file is not such an archive, is damaged, or names anything but tensors.

  Example:
    >>> from jaxmtl.models.pretrained.torch_file import read_torch
    >>> read_torch("README.md")
    Traceback (most recent call last):
    ...
    ValueError: README.md is not a zip archive, as torch.save writes since PyTorch 1.6. ...

  Reference: the PyTorch documentation, "Serialization semantics".
  """
  if not zipfile.is_zipfile(path):
    with open(path, "rb") as opened:
      if opened.read(len(_ZIP)) == _ZIP:
        raise ValueError(
          f"{path} is cut short: it begins as a zip archive, whose end is missing; get the file"
          " again"
        )
    raise ValueError(
      f"{path} is not a zip archive, as torch.save writes since PyTorch 1.6. Older files hold one"
      " pickle; rewrite them in PyTorch: torch.save(torch.load(path, weights_only=True), path)"
    )
  try:
    with zipfile.ZipFile(path) as archive:
      names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
      if len(names) != 1:
        raise ValueError(f"it holds {len(names)} files named data.pkl; {_SAVE}")
      files = _Files(archive, Path(path).stat().st_size)
      pickled = io.BytesIO(files.read(names[0]))
      return _Unpickler(pickled, files, names[0].removesuffix("data.pkl")).load()
  except Exception as error:  # damaged or hostile pickles raise anything
    raise ValueError(f"{path} cannot be read: {error}") from error


class _Unpickler(pickle.Unpickler):
  """Unpickles dictionaries of tensors and nothing else."""

  def __init__(self, file: Any, files: "_Files", root: str) -> None:
    super().__init__(file)
    self._files, self._root = files, root
    self._storages: dict[str, _Storage] = {}
    order = f"{root}byteorder"
    self._big = order in files.names and files.read(order) == b"big"

  def find_class(self, module: str, name: str) -> Any:
    """Admit names of tensors, as strings and bound methods, which no pickle can change."""
    full = f"{module}.{name}"
    if full in _DTYPES:
      return _DTYPES[full]
    if full == "collections.OrderedDict":
      return collections.OrderedDict
    if full == "torch._utils._rebuild_tensor_v2":
      return self._tensor
    if full == "torch._utils._rebuild_parameter":
      return self._parameter
    raise ValueError(f"it names {full}, which is no tensor, and might run any code; {_SAVE}")

  def persistent_load(self, pid: Any) -> _Storage:
    """Read the storage named by `("storage", type, key, location, length)`."""
    kind, dtype_name, key, _, length = pid
    if kind != "storage" or dtype_name not in _DTYPES.values() or not re.fullmatch(r"\d+", key):
      raise ValueError(f"unknown storage {pid!r}")
    if key not in self._storages:
      dtype = np.dtype(jnp.bfloat16) if dtype_name == "bfloat16" else np.dtype(dtype_name)
      content = self._files.read(f"{self._root}data/{key}")
      if len(content) != length * dtype.itemsize:
        raise ValueError(f"storage {key} is not {length} numbers of {dtype_name}")
      values = np.frombuffer(content, dtype)
      self._storages[key] = _Storage(values.byteswap() if self._big else values)
    return self._storages[key]

  def _tensor(
    self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
  ) -> np.ndarray:
    """A view of a storage, which tensors share as they did; within it, whatever the file says."""
    values = storage.values
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
      raise ValueError(f"bad tensor: offset {offset}, size {size}, stride {stride}")
    end = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
    count = math.prod(list(size))
    if count > len(values) or (count and end > len(values)):
      raise ValueError(f"tensor of size {size} reaches out of its storage of {len(values)}")
    strides = [s * values.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False)

  def _parameter(self, data: np.ndarray, *_: Any) -> np.ndarray:
    """A parameter's tensor."""
    return data
