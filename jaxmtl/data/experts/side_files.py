"""What is said about the objects and words of one image, in files beside its label."""

from __future__ import annotations

import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._files import replacing

if TYPE_CHECKING:
  from jaxmtl.models.pretrained import torch_file
else:
  torch_file = Optional("jaxmtl.models.pretrained.torch_file", "models", __name__)

MOST = 255  # numbers of an image; the next one is the background
CHANNELS = 64
NO_CLASS = -1


def read_classes(label: pathlib.Path) -> np.ndarray:
  """The classes of an image's objects.

  Args:
    label: PNG file, beside which a `.json` file has `{"object": class}`.

  Returns:
    int16 `[255]`, by the object's number; -1 where there is no such object.

  Raises:
    FileNotFoundError: if the side file is not there.
    ValueError: naming it, if it is something else.
  """
  path = label.with_suffix(".json")
  classes = np.full(MOST, NO_CLASS, np.int16)
  for number, value in _json(path).items():
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**15:
      raise ValueError(f"{path}: object {number!r} has class {value!r}, not a whole number >= 0.")
    classes[_number(number, path)] = value
  return classes


def read_words(label: pathlib.Path) -> np.ndarray | None:
  """The features of an image's words.

  Args:
    label: PNG file, beside which either a `.pt` file has `{word: {"features": [64], "text": str}}`,
      read without executing what is pickled; or a `.json` file has `{"word": text}` and a `.npz`
      file `features` `[words, 64]`, in the order of the words' numbers.

  Returns:
    float32 `[255, 64]`, by the word's number, NaN where there is no such word; None where there are
    no side files, which says that there is no word.

  Raises:
    ValueError: naming a file that is something else, or one of the two that is missing.
  """
  torch, texts, features = (label.with_suffix(end) for end in (".pt", ".json", ".npz"))
  if torch.is_file():
    return _torch_words(torch)
  if not texts.is_file() and not features.is_file():
    return None
  numbers = sorted(_number(number, texts) for number in _json(texts))
  try:
    with np.load(features, allow_pickle=False) as content:
      values = content["features"]
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no {features}, which belongs to {texts}.") from None
  except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
    raise ValueError(f"{features} cannot be read as .npz with `features` ({error}).") from None
  if values.shape != (len(numbers), CHANNELS):
    raise ValueError(
      f"{features} has features of shape {values.shape}, but {texts} has {len(numbers)} words:"
      f" {(len(numbers), CHANNELS)} was expected."
    )
  words = np.full((MOST, CHANNELS), np.nan, np.float32)
  words[numbers] = values
  return words


def write_classes(label: pathlib.Path, classes: Mapping[int, int]) -> None:
  """Writes what `read_classes` reads."""
  with replacing(label.with_suffix(".json")) as draft:
    draft.write_text(json.dumps({str(k): int(v) for k, v in classes.items()}))


def write_words(label: pathlib.Path, words: Mapping[int, Mapping[str, Any]]) -> None:
  """Writes what `read_words` reads, as `.json` and `.npz`; nothing where there are no words."""
  if not words:
    return
  numbers = sorted(words)
  with replacing(label.with_suffix(".npz")) as draft, draft.open("wb") as file:
    np.savez(file, features=np.stack([np.asarray(words[n]["features"]) for n in numbers]))
  with replacing(label.with_suffix(".json")) as draft:
    texts = {str(n): words[n]["text"] for n in numbers}
    draft.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")


def _torch_words(path: pathlib.Path) -> np.ndarray:
  found = torch_file.read_torch(path)
  words = np.full((MOST, CHANNELS), np.nan, np.float32)
  if not isinstance(found, Mapping):
    raise ValueError(f"{path} holds a {type(found).__name__}, not words by their numbers.")
  for number, word in found.items():
    values = word.get("features") if isinstance(word, Mapping) else None
    if not isinstance(values, np.ndarray) or values.size != CHANNELS:
      shape = getattr(values, "shape", None)
      raise ValueError(f"{path}: word {number!r} needs {CHANNELS} features, got shape {shape}.")
    words[_number(number, path)] = values.reshape(-1)
  return words


def _json(path: pathlib.Path) -> dict[str, Any]:
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no side file {path}.") from None
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"{path} is no JSON: {error}.") from None
  if not isinstance(found, dict):
    raise ValueError(f"{path} holds a {type(found).__name__}, not values by numbers.")
  return found


def _number(text: Any, path: pathlib.Path) -> int:
  try:
    number = int(text)
  except (TypeError, ValueError):
    number = -1
  if not 0 <= number < MOST:
    raise ValueError(f"{path} names {text!r}, where numbers go from 0 to {MOST - 1}.")
  return number
