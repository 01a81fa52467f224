"""UCF-101, videos of human actions, as single images: the middle frame of every video."""

import os
import pathlib

import numpy as np

from jaxmtl.data.dataset import ImageDataset, Splits
from jaxmtl.data.folders import data_folder
from jaxmtl.data.image_files import Form, ImageFiles
from jaxmtl.data.splits import stratified_split

_LISTS = "ucfTrainTestlist"
_IMAGES = (".jpg", ".jpeg", ".png")
_LAYOUT = (
  "it must hold the published split lists, 'ucfTrainTestlist/classInd.txt' and 'trainlist01.txt', "
  "and a folder of frames for each video, '.../v_<Class>_g01_c01/<number>.jpg', in a folder of its "
  "class or not. Frames are cut with, for example, ffmpeg -i v_X_g01_c01.avi v_X_g01_c01/%06d.jpg"
)


def load_ucf101(
  data_dir: str | os.PathLike | None,
  *,
  split: int = 1,
  image_size: int = 32,
  validation: float = 0.0,
  seed: int = 0,
) -> Splits:
  """Load the middle frame of every video of UCF-101.

  Frames are read from images, since a video decoder would be one more dependency (and so would
  TensorFlow, without which TFDS reads no videos).

  Args:
    data_dir: folder with the split lists and, at any depth, one folder of frames a video. None:
      the folder `ucf101` where TFDS keeps its data.
    split: which of the three published splits, 1 to 3.
    image_size: side in pixels: the shorter side is scaled, then the centre is cut out.
    validation: stratified share of the training set to hold out, `0 <= validation < 1`. Clips of
      one video lie on both sides.
    seed: seed of what is held out.

  Returns:
    The `Splits`, with 101 classes in the published order.

  Raises:
    FileNotFoundError: if a list or the frames of a listed video are not there.
    ValueError: if an option is out of range, or an image cannot be read, naming it.

  Reference:
    Soomro, Zamir and Shah, "UCF101: A Dataset of 101 Human Actions Classes From Videos in The
    Wild", 2012.
  """
  if split not in (1, 2, 3):
    raise ValueError(f"split must be 1, 2 or 3, got {split}.")
  if not 0 <= validation < 1:
    raise ValueError(f"validation must be in [0, 1), got {validation}; 10 % is .1.")
  if image_size < 1:
    raise ValueError(f"image_size must be at least 1 pixel, got {image_size}.")
  folder = data_folder(data_dir, "ucf101")
  lists = folder / _LISTS
  classes = [words[1] for words in _lines(lists / "classInd.txt", folder, 2)]
  known = {name: number for number, name in enumerate(classes)}
  frames = {
    path.name: path
    for path in folder.rglob("v_*_g*_c*")
    if path.is_dir() and _LISTS not in str(path)
  }

  def read(name: str) -> ImageDataset:
    path = lists / f"{name}list0{split}.txt"
    videos = [words[0] for words in _lines(path, folder, 1)]
    if strange := [video for video in videos if video.split("/")[0] not in known]:
      raise ValueError(f"{path.name!r} has {strange[0]!r}, whose class is not in 'classInd.txt'.")
    labels = np.array([known[video.split("/")[0]] for video in videos], np.int32)
    paths = [_middle_frame(frames, pathlib.PurePosixPath(v).stem, folder) for v in videos]
    images = ImageFiles(paths, {}, Form(3, image_size)).load()["image"]
    return ImageDataset(images, labels, len(classes), tuple(classes))

  train, test = read("train"), read("test")
  if not validation:
    return Splits(train, None, test, "ucf101")
  kept, held_out = stratified_split(train.labels, validation, seed)
  return Splits(train.subset(kept), train.subset(held_out), test, "ucf101")


def _middle_frame(
  frames: dict[str, pathlib.Path], video: str, folder: pathlib.Path
) -> pathlib.Path:
  # The lists write HandStandPushups, the videos HandstandPushups.
  home = frames.get(video) or frames.get(video.replace("HandStand", "Handstand"))
  files = sorted(f for f in home.iterdir() if f.suffix.lower() in _IMAGES) if home else []
  if not files:
    raise FileNotFoundError(f"data_dir {str(folder)!r} has no frames of {video!r}; {_LAYOUT}.")
  return files[len(files) // 2]


def _lines(path: pathlib.Path, folder: pathlib.Path, least: int) -> list[list[str]]:
  """The words of each line that is not empty, so many at least."""
  if not path.exists():
    raise FileNotFoundError(f"data_dir {str(folder)!r} has no {path.name!r}; {_LAYOUT}.")
  try:
    found = [line.split() for line in path.read_text().splitlines() if line.strip()]
  except UnicodeDecodeError as error:
    raise ValueError(f"{path.name!r} is no text: {error}.") from None
  if short := [words for words in found if len(words) < least]:
    raise ValueError(f"{path.name!r} has a line {short[0][0]!r}, which lacks a word; {_LAYOUT}.")
  return found
