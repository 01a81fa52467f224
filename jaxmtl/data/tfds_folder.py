"""Where a TFDS data set lies on disk, and what to tell a user when it does not."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jaxmtl._extras import Optional
from jaxmtl.data.folders import tfds_home

if TYPE_CHECKING:
  import etils.epath as epath
  import tensorflow_datasets as tfds
else:
  tfds = Optional("tensorflow_datasets", "data", __name__)
  epath = Optional("etils.epath", "data", __name__)

_INFO, _FEATURES = "dataset_info.json", "features.json"
# What TFDS itself brings, and where its files name a class, in either spelling of a message's
# fields, or as its first versions did.
_TRUSTED = "tensorflow_datasets.core.features."
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


def find_prepared(name: str, data_dir: str | os.PathLike | None) -> epath.Path:
  """Find `<data_dir>/<name>[/<config>]/<version>`, the latest version unless one is named.

  Only the folder is looked at: TFDS itself asks the network about data that are not there, and
  reads no version but that of its own code.

  Args:
    name: `name[/config][:version]`, as in TFDS.
    data_dir: the TFDS folder; None: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

  Returns:
    The folder that holds `dataset_info.json`.

  Raises:
    FileNotFoundError: if TFDS knows the data set, but it is not prepared here.
    ValueError: if nobody knows the name, or several configs are there and none is named.
  """
  folder = _resolve(data_dir)
  path, _, version = name.partition(":")
  found = _versions(folder / path)
  if not found and "/" not in path:
    configs = [child for child in _children(folder / path) if _versions(child)]
    if len(configs) > 1:
      raise ValueError(
        f"name must say which config of {name!r}, one of "
        f"{[f'{path}/{config.name}' for config in configs]}."
      )
    found = _versions(configs[0]) if configs else []
  if version:
    found = [child for child in found if child.name == version]
  if not found:
    raise _not_found(name, folder)
  return max(found, key=_version_key)


def check_features(folder: epath.Path) -> None:
  """Raises unless a prepared folder names feature classes of TFDS alone.

  TFDS imports whatever module `features.json` names, one that lies in the folder too.

  Raises:
    ValueError: naming the file and the class, or if the file cannot be read.
  """
  file = folder / _FEATURES
  known = tfds.features.FeatureConnector._registered_features
  try:
    named = set(_classes(json.loads(file.read_text())))
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f"{os.fspath(file)!r} cannot be read ({error}); prepare the data set again."
    ) from None
  if bad := sorted(c for c in named if c not in known or not c.startswith(_TRUSTED)):
    raise ValueError(
      f"{os.fspath(file)!r} names the class {bad[0]!r}, whose code would be run; only features of "
      "TFDS itself are read. Prepare the data set again with these, or pass it as an .npz file."
    )


def _classes(value: Any) -> Iterator[str]:
  """The classes that JSON names at any depth, JSON within texts included."""
  if isinstance(value, list):
    for inner in value:
      yield from _classes(inner)
  elif isinstance(value, dict):
    for key, inner in value.items():
      if isinstance(inner, str) and key in _CLASS_KEYS:
        yield inner
      elif isinstance(inner, str) and key == "json":
        yield from _classes(json.loads(inner))
      else:
        yield from _classes(inner)


def how_to_prepare(name: str, folder: str | os.PathLike) -> str:
  """Say how to get a data set of the catalogue."""
  code = (
    f"import tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{os.fspath(folder)}', "
    "file_format='array_record').download_and_prepare()"
  )
  return (
    "Prepare it once, with TensorFlow (pip install -e '.[tf]' in jaxmtl's folder):\n"
    f'  python -c "{code}"\n'
    "or pass the data_dir where it is; the expected layout is <data_dir>/<name>/<version>/ with "
    "array_record files."
  )


def _not_found(name: str, folder: epath.Path) -> Exception:
  base = name.partition(":")[0].partition("/")[0]
  here = [
    child.name
    for child in _children(folder)
    if _versions(child) or any(_versions(config) for config in _children(child))
  ]
  place = f"data_dir {os.fspath(folder)!r} (found there: {', '.join(here) or 'nothing'})"
  known = tfds.list_builders(with_community_datasets=False)
  if base in known or base in here:
    return FileNotFoundError(f"{name!r} is not prepared in {place}. {how_to_prepare(name, folder)}")
  near = difflib.get_close_matches(base, ["digits", *here, *known], n=5)
  hint = (
    f" Did you mean {' or '.join(repr(other) for other in dict.fromkeys(near))}?" if near else ""
  )
  path = "" if os.path.exists(name) else " There is no folder or table of this name either."
  return ValueError(
    f"data set {name!r} is not known.{hint} Known are 'digits' (embedded), a path "
    f"ending in '.npz', and any data set of the TFDS catalogue that is prepared in {place}.{path}"
  )


def _resolve(data_dir: str | os.PathLike | None) -> epath.Path:
  return epath.Path(os.fspath(data_dir or tfds_home())).expanduser()


def _children(folder: epath.Path) -> list[epath.Path]:
  if not folder.is_dir():
    return []
  return sorted((child for child in folder.iterdir() if child.is_dir()), key=lambda c: c.name)


def _versions(folder: epath.Path) -> list[epath.Path]:
  return [child for child in _children(folder) if (child / _INFO).exists()]


def _version_key(folder: epath.Path) -> tuple[int, ...]:
  """Order 3.0.10 after 3.0.9."""
  return tuple(int(part) if part.isdigit() else -1 for part in folder.name.split("."))
