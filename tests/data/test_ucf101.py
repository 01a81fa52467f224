"""UCF-101 in the layout of its split lists, with frames cut from the videos."""

import numpy as np
import pytest
from PIL import Image

from jaxmtl.data import class_levels, load_ucf101

CLASSES = ("ApplyEyeMakeup", "HandStandPushups", "YoYo")


@pytest.fixture
def folder(tmp_path):
  lists = tmp_path / "ucfTrainTestlist"
  lists.mkdir()
  (lists / "classInd.txt").write_text("".join(f"{i + 1} {c}\r\n" for i, c in enumerate(CLASSES)))
  groups = {"train": ("g08", "g09"), "test": ("g01",)}
  for part, numbers in groups.items():
    lines = []
    for index, action in enumerate(CLASSES):
      for group in numbers:
        video = f"v_{action}_{group}_c01"
        number = f" {index + 1}" if part == "train" else ""
        lines.append(f"{action}/{video}.avi{number}\n")
        # Some releases have a folder of the class in between, some not; one name differs in case.
        on_disk = video.replace("HandStand", "Handstand")
        home = tmp_path / "frames" / (action if part == "train" else "") / on_disk
        home.mkdir(parents=True)
        for frame in range(5):
          value = 40 * index + 10 * frame
          image = Image.fromarray(np.full((24, 32, 3), value, np.uint8))
          image.save(home / f"frame{frame:06d}.png")
    (lists / f"{part}list01.txt").write_text("".join(lines))
  return tmp_path


def test_the_middle_frame_of_every_video(folder):
  splits = load_ucf101(folder, image_size=8)
  assert splits.train.images.shape == (6, 8, 8, 3)
  assert splits.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
  assert splits.test.labels.tolist() == [0, 1, 2]
  assert splits.test.images[:, 0, 0, 0].tolist() == [20, 60, 100]
  assert splits.test.class_names == CLASSES
  held_out = load_ucf101(folder, image_size=8, validation=0.5)
  assert (len(held_out.train), len(held_out.validation), len(held_out.test)) == (3, 3, 3)


def test_what_is_missing_is_named(folder):
  for frame in (folder / "frames" / "v_YoYo_g01_c01").iterdir():
    frame.unlink()
  with pytest.raises(FileNotFoundError, match=r"no frames of 'v_YoYo_g01_c01'.*ffmpeg"):
    load_ucf101(folder)
  with pytest.raises(FileNotFoundError, match=r"no 'trainlist02\.txt'"):
    load_ucf101(folder, split=2)
  with pytest.raises(FileNotFoundError, match=r"no 'classInd\.txt'"):
    load_ucf101(folder / "frames")
  with pytest.raises(ValueError, match="split must be 1, 2 or 3, got 4"):
    load_ucf101(folder, split=4)


def test_lists_that_do_not_fit_are_named(folder):
  lists = folder / "ucfTrainTestlist"
  (lists / "testlist01.txt").write_text("Juggling/v_Juggling_g01_c01.avi\n")
  with pytest.raises(ValueError, match=r"'testlist01\.txt' has 'Juggling/.* not in 'classInd"):
    load_ucf101(folder)
  (lists / "classInd.txt").write_text("1 YoYo\nJuggling\n")
  with pytest.raises(
    ValueError, match=r"'classInd\.txt' has a line 'Juggling', which lacks a word"
  ):
    load_ucf101(folder)
  (lists / "classInd.txt").write_bytes(b"1 \xff\xfe\n")
  with pytest.raises(ValueError, match=r"'classInd\.txt' is no text"):
    load_ucf101(folder)


def test_levels_are_nested():
  levels = class_levels("cifar100:3.0.2", 100)
  sizes = [np.bincount(of_class).tolist() for of_class in levels.values()]
  assert sizes[2] == [5] * 20
  assert [len(s) for s in sizes] == [3, 10, 20, 100]
  for coarse, fine in ((3, 10), (10, 20), (20, 100)):
    pairs = set(zip(levels[fine].tolist(), levels[coarse].tolist(), strict=True))
    assert len(pairs) == fine  # every finer class lies in one coarser class
  # Maple, oak, palm, pine and willow are trees; bottles and cans are household things.
  assert {int(levels[20][c]) for c in (47, 52, 56, 59, 96)} == {17}
  assert [int(levels[3][c]) for c in (47, 9, 16, 98)] == [1, 2, 2, 0]
  assert class_levels("mnist", 10)[2].tolist() == [0, 1] * 5
  assert list(class_levels("cifar10", 10)) == [10]
  with pytest.raises(ValueError, match="over its 100 classes, got num_classes=20"):
    class_levels("cifar100", 20)
