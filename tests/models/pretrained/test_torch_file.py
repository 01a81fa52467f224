"""Files of `torch.save`, read without PyTorch and without running what they say."""

import copy
import io
import json
import pathlib
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmtl.models.pretrained import read_checkpoint
from jaxmtl.models.pretrained.torch_file import _Files
from jaxmtl.training import load_weights

# Written by PyTorch 2.14: {"epoch": 3, "lr": 0.1, "model": OrderedDict of tensors}.
_GOLDEN = pathlib.Path(__file__).parents[2] / "goldens" / "state_dict.pth"


def test_reads_what_pytorch_wrote():
  state = read_checkpoint(_GOLDEN)
  weight = np.arange(12, dtype=np.float32).reshape(3, 4)
  expected = {
    "weight": weight,
    "transposed": weight.T,
    "part": weight[1:, ::2],
    "parameter": np.ones(2, np.float32),
    "half": np.array([0.5, -2], np.float16),
    "brain": np.array([1.5, -3], jnp.bfloat16),
    "count": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False]),
  }
  assert set(state) == set(expected)
  for name, value in expected.items():
    assert state[name].dtype == value.dtype
    np.testing.assert_array_equal(state[name], value)


class _Call:
  """Pickles as a call of what `text` names: `module name`."""

  def __init__(self, text, *arguments):
    self.text, self.arguments = text, arguments


class _Pickler(pickle._Pickler):
  """Pure Python, so that it can write names of modules that are not there."""

  def save(self, value, *args, **kwargs):
    if isinstance(value, _Call):
      module, name = value.text.split()
      self.write(f"c{module}\n{name}\n".encode())
      if value.arguments:
        super().save(value.arguments)
        self.write(pickle.REDUCE)
    else:
      super().save(value, *args, **kwargs)

  def persistent_id(self, value):
    return (
      ("storage", _Call("torch FloatStorage"), *value)
      if isinstance(value, tuple) and value[:1] == ("0",)
      else None
    )


def _write(path, value, data=b"\0" * 16, **packed):
  file = io.BytesIO()
  _Pickler(file, 2).dump(value)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("net/data.pkl", file.getvalue(), packed.get("pickle"))
    archive.writestr("net/data/0", data, packed.get("storage"))
    archive.writestr("net/byteorder", "little")
  return path


def _tensor(size, stride, offset=0, length=4):
  storage = ("0", "cpu", length)
  return _Call("torch._utils _rebuild_tensor_v2", storage, offset, size, stride, False, None)


def test_tensors_stay_within_their_storage(tmp_path):
  path = tmp_path / "net.pth"
  data = np.arange(4, dtype=np.float32).tobytes()
  state = read_checkpoint(_write(path, {"w": _tensor((2, 2), (1, 2))}, data))
  np.testing.assert_array_equal(state["w"], [[0, 2], [1, 3]])
  for bad in (
    _tensor((2, 2), (2, 1), offset=1),
    _tensor((4,), (2,)),
    _tensor((10**12,), (0,)),
    _tensor((2,), (-1,)),
    _tensor((2,), (1,), offset=-2),
    _tensor((2, 2), (1,)),
    _tensor((4,), (1,), length=5),
  ):
    with pytest.raises(ValueError, match=r"net\.pth cannot be read: "):
      read_checkpoint(_write(path, {"w": bad}))


@pytest.mark.parametrize(
  "name",
  [
    "os system",
    "builtins eval",
    "builtins getattr",
    "torch.storage _load_from_bytes",
    "numpy load",
  ],
)
def test_nothing_else_is_called(name, tmp_path):
  marker = tmp_path / "ran"
  path = _write(tmp_path / "net.pth", {"w": _Call(name, f"touch {marker}")})
  with pytest.raises(ValueError, match=name.replace(" ", r"\.") + ".*might run any code"):
    read_checkpoint(path)
  assert not marker.exists()


def test_other_files_are_named(tmp_path):
  legacy = tmp_path / "legacy.pth"
  legacy.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
  with pytest.raises(ValueError, match=r"legacy\.pth is not a zip archive.*torch\.save\("):
    read_checkpoint(legacy)
  with pytest.raises(ValueError, match=r"no state dict; \['epoch'\]"):
    read_checkpoint(_write(tmp_path / "net.pth", {"epoch": 3}))
  with pytest.raises(ValueError, match="holds a list"):
    read_checkpoint(_write(tmp_path / "net.pth", [1]))
  broken = tmp_path / "net.safetensors"
  broken.write_bytes(b"nothing")
  with pytest.raises(ValueError, match=r"net\.safetensors is no safetensors file"):
    read_checkpoint(broken)


@pytest.mark.parametrize("part", ["pickle", "storage"])
def test_what_is_packed_is_not_unpacked(part, tmp_path):
  value = {"w": _tensor((4,), (1,)), "text": "a" * 100_000}
  path = _write(tmp_path / "net.pth", value, **{part: zipfile.ZIP_DEFLATED})
  with pytest.raises(ValueError, match=r"net\.pth cannot be read: net/data.* in it is packed"):
    read_checkpoint(path)


def test_parts_are_no_larger_than_the_file(tmp_path):
  """Many names for the same bytes: each is as large as it says, all are larger than the file."""
  file, path = io.BytesIO(), tmp_path / "net.pth"
  storages = [(f"{i}", "cpu", 256) for i in range(8)]

  class Pickler(_Pickler):
    def persistent_id(self, value):
      named = isinstance(value, tuple) and value in storages
      return ("storage", _Call("torch FloatStorage"), *value) if named else None

  Pickler(file, 2).dump(
    {
      s[0]: _Call("torch._utils _rebuild_tensor_v2", s, 0, (256,), (1,), False, None)
      for s in storages
    }
  )
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("net/data.pkl", file.getvalue())
    archive.writestr("net/data/0", b"\0" * 1024)
    (first,) = (info for info in archive.filelist if info.filename == "net/data/0")
    for i in range(1, 8):
      again = copy.copy(first)
      again.filename = f"net/data/{i}"
      archive.filelist.append(again)
      archive.NameToInfo[again.filename] = again
  # The interpreter's own check of names and overlaps comes first where it has one.
  with pytest.raises(ValueError, match=r"net\.pth cannot be read: "):
    read_checkpoint(path)
  with zipfile.ZipFile(path) as archive:
    files = _Files(archive, 2500)
    assert len(files.read("net/data/0")) + len(files.read("net/data/0")) == 2048
    with pytest.raises(ValueError, match="larger than the file together"):
      files.read("net/data/0")


def test_tensors_share_their_storage(tmp_path):
  names = [f"w{i}" for i in range(1000)]
  path = _write(tmp_path / "net.pth", {name: _tensor((2, 2), (2, 1)) for name in names})
  state = read_checkpoint(path)
  assert all(np.shares_memory(state[name], state["w0"]) for name in names)
  assert not state["w0"].flags.writeable


def test_a_download_that_broke_off_is_no_other_format(tmp_path):
  path = _write(tmp_path / "net.pth", {"w": _tensor((4,), (1,))})
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(ValueError, match=r"net\.pth is cut short: .*get the file again"):
    read_checkpoint(path)


def test_a_dictionary_that_holds_itself_ends(tmp_path):
  state = {}
  state["state_dict"] = state
  with pytest.raises(ValueError, match="no state dict within 8 dictionaries"):
    read_checkpoint(_write(tmp_path / "net.pth", state))


def test_types_and_names_that_do_not_fit_are_named(tmp_path):
  def written(name, **arrays):
    header = json.dumps(arrays).encode()
    path = tmp_path / name
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    return path

  eighths = written("f8.safetensors", w={"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]})
  for read in (read_checkpoint, load_weights):
    with pytest.raises(ValueError, match=r"f8\.safetensors has .*float8.*save them as .*float32"):
      read(eighths)
  one = {"dtype": "F32", "shape": [1]}
  both = written(
    "both.safetensors",
    **{"a": one | {"data_offsets": [0, 4]}, "a/b": one | {"data_offsets": [4, 8]}},
  )
  with pytest.raises(
    ValueError, match=r"both\.safetensors has an array 'a/b', and one where 'a' is"
  ):
    load_weights(both)
