"""Features of classes: the user's own tables, those of any text encoder, or some that say nothing.

A pixel of a class, an object or a word becomes a vector of 64 channels. Published networks were
trained with CLIP's features of the classes' names, reduced to 64 principal components.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmtl._extras import Optional
from jaxmtl._files import replacing

if TYPE_CHECKING:
  from sklearn import decomposition
  from sklearn.feature_extraction import text as of_text

  from jaxmtl.models import pretrained
else:
  decomposition = Optional("sklearn.decomposition", "data", __name__)
  of_text = Optional("sklearn.feature_extraction.text", "data", __name__)
  pretrained = Optional("jaxmtl.models.pretrained", "models", __name__)

Encoder = Callable[[list[str]], np.ndarray]
_GRAMS = 2**14


def read_features(path: str | os.PathLike) -> np.ndarray:
  """A table of features from a file, without executing what is pickled in it.

  Args:
    path: `.npy`; or `.npz`, `.safetensors`, `.pt` or `.pth` with one array alone, or one that is
      called `features`.

  Returns:
    float32 `[classes, channels]`; a single vector, such as the background's, `[channels]`.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: naming it, if it is something else, or a value is not finite.

  Example:
    >>> import tempfile, numpy as np
    >>> from jaxmtl.data import experts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   np.save(f"{folder}/coco.npy", np.ones((133, 64)))
    ...   experts.read_features(f"{folder}/coco.npy").shape
    (133, 64)
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f"there is no table of features {path}.")
  try:
    if path.suffix == ".npy":
      values = np.load(path, allow_pickle=False)
    elif path.suffix == ".npz":
      with np.load(path, allow_pickle=False) as content:
        values = _alone({name: content[name] for name in content.files})
    else:
      values = _alone(pretrained.read_checkpoint(path))
    values = np.asarray(values).astype(np.float32)
  except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f"{path} cannot be read as a table of features: {error}") from None
  if values.ndim not in (1, 2) or not values.size:
    raise ValueError(f"{path} has shape {values.shape}, where features are [classes, channels].")
  if not np.isfinite(values).all():
    raise ValueError(f"{path} has values that are not finite.")
  return values


def with_background(features: np.ndarray, background: np.ndarray | None = None) -> np.ndarray:
  """A table whose last row is that of pixels without a class.

  Args:
    features: `[classes, channels]`.
    background: `[channels]`; None: zeros.

  Returns:
    float32 `[classes + 1, channels]`.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> import numpy as np
    >>> from jaxmtl.data import experts
    >>> experts.with_background(np.ones((133, 64))).shape
    (134, 64)
  """
  features = np.asarray(features, np.float32)
  last = np.zeros(features.shape[-1:]) if background is None else np.asarray(background)
  if features.ndim != 2 or last.shape != features.shape[1:]:
    raise ValueError(
      "features must be [classes, channels] and background [channels], got"
      f" {features.shape} and {last.shape}."
    )
  return np.concatenate([features, last[None]]).astype(np.float32)


def encode_names(
  names: Sequence[str],
  encode: Encoder,
  *,
  channels: int = 64,
  cache: str | os.PathLike | None = None,
  encoder: str = "",
) -> np.ndarray:
  """A table of features by a text encoder: its vectors less their mean, by principal components.

  Args:
    names: of the classes, in the order of their numbers, in the template that the encoder likes.
    encode: `texts -> [texts, any]`, called once with all names and `"background"`.
    channels: components; what there are not so many of is filled up with zeros.
    cache: folder in which the table is kept, under a hash of all that it depends on; None: nowhere.
    encoder: name and version of the encoder, without which the hash would not know it.

  Returns:
    float32 `[classes + 1, channels]`, the last row that of pixels without a class.

  Raises:
    ValueError: if there are no names, a cache is asked for without the encoder's name, or vectors
      are not numbers of this shape.

  Example:
    >>> from jaxmtl.data import experts
    >>> experts.encode_names(["cat", "dog", "hot dog"], experts.encode_letters, channels=8).shape
    (4, 8)

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """
  if not names:
    raise ValueError("names: there is no class; give one at least.")
  if cache is not None and not encoder:
    raise ValueError("encoder must name what encodes, so that the cache can tell its tables apart.")
  texts = [*names, "background"]
  file = None
  if cache is not None:
    told = json.dumps([encoder, channels, texts]).encode()
    name = f"features-{hashlib.sha256(told).hexdigest()[:16]}.npy"
    file = pathlib.Path(cache).expanduser() / name
    if file.is_file():
      return read_features(file)
  vectors = np.asarray(encode(texts), np.float64)
  if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
    raise ValueError(
      f"encode must give finite numbers [{len(texts)}, any], got shape {vectors.shape}."
    )
  most = min(channels, *vectors.shape)
  found = np.zeros((len(texts), channels), np.float32)
  # The exact solver: the same table whatever the numbers of texts and channels.
  found[:, :most] = decomposition.PCA(most, svd_solver="full").fit_transform(vectors)
  if file is not None:
    with replacing(file) as draft, draft.open("wb") as opened:
      np.save(opened, found)
  return found


def encode_letters(texts: list[str]) -> np.ndarray:
  """Vectors of texts by their letters: alike in form, not in meaning; no model is needed.

  Counts of all runs of one to three letters, hashed, through a fixed random projection.

  Args:
    texts: any; capitals and small letters are the same.

  Returns:
    float32 `[texts, 64]`, of length 1.

  Example:
    >>> from jaxmtl.data import experts
    >>> stop, shop, seven = experts.encode_letters(["STOP", "shop", "seven"])
    >>> bool(stop @ shop > stop @ seven)
    True
  """
  counts = of_text.HashingVectorizer(
    analyzer="char_wb", ngram_range=(1, 3), n_features=_GRAMS, lowercase=True
  ).transform(texts)
  projection = np.random.default_rng(0).standard_normal((_GRAMS, 64), np.float32)
  vectors = np.asarray(counts @ projection, np.float32)
  return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def orthogonal_features(num_classes: int, channels: int = 64, seed: int = 0) -> np.ndarray:
  """A table that tells classes apart and says nothing else: vectors at right angles.

  Args:
    num_classes: less than `channels`.
    channels: of the table.
    seed: of the vectors.

  Returns:
    float32 `[num_classes + 1, channels]`, with channels of mean square 1; the last row is that of
    pixels without a class.

  Raises:
    ValueError: if there are too many classes.

  Example:
    >>> from jaxmtl.data import experts
    >>> table = experts.orthogonal_features(10)
    >>> table.shape, abs((table @ table.T)[0, 1:]).max() < 1e-4
    ((11, 64), np.True_)
  """
  if not 0 < num_classes < channels:
    raise ValueError(f"num_classes must be from 1 to {channels - 1}, got {num_classes}.")
  drawn = np.random.default_rng(seed).standard_normal((channels, num_classes + 1))
  return (channels**0.5 * np.linalg.qr(drawn)[0].T).astype(np.float32)


def _alone(arrays: dict[str, np.ndarray]) -> np.ndarray:
  if len(arrays) == 1:
    return next(iter(arrays.values()))
  if "features" not in arrays:
    raise ValueError(f"it has the arrays {sorted(arrays)}, and none is called 'features'")
  return arrays["features"]
