"""Readers of ReCo's sets, on files in their formats."""

import numpy as np
import pytest
from PIL import Image

from jaxmtl import data

RNG = np.random.default_rng(0)


def save(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(values).save(path)


def photo(height, width):
  return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def pascal(tmp_path):
  sizes = {"2007_000032": (5, 8), "2007_000039": (7, 6), "2008_000001": (4, 4)}
  for stem, size in sizes.items():
    save(tmp_path / "JPEGImages" / f"{stem}.jpg", photo(*size))
    values = np.full(size, 20, np.uint8)
    values[0, 0] = 255
    save(tmp_path / "SegmentationClassAug" / f"{stem}.png", values)
  (tmp_path / "train_aug.txt").write_text("2007_000039\n2007_000032\n")
  (tmp_path / "val.txt").write_text("/JPEGImages/2008_000001.jpg /SegmentationClassAug/x.png\n")
  return tmp_path


def test_pascal_voc(pascal):
  splits = data.read_pascal_voc(pascal)
  assert (len(splits.train), len(splits.val), splits.test) == (2, 1, None)
  assert len(splits.classes["segmentation"]) == 21
  first, second = splits.train[0], splits.train[1]
  assert (first["size"].tolist(), second["size"].tolist()) == ([7, 6], [5, 8])  # the list's order
  assert first["image"].shape == (7, 8, 3)
  np.testing.assert_array_equal(
    first["image"][:, 6:], first["image"][:, 4:2:-1][:, :2]
  )  # reflected
  labels = first["segmentation"]
  assert labels[0, 0] == -1
  assert np.all(labels[:, 6:] == -1)
  assert labels[3, 3] == 20
  assert splits.val[0]["image"].shape == (513, 513, 3)
  some = splits.train.subset([1]).only("segmentation")
  assert some[0]["size"].tolist() == [5, 8]


def test_pascal_voc_that_cannot_be(pascal):
  (pascal / "val.txt").write_text("gone\n")
  with pytest.raises(FileNotFoundError, match=r"gone.*which val\.txt names"):
    data.read_pascal_voc(pascal)
  (pascal / "val.txt").write_text("\n")
  with pytest.raises(ValueError, match=r"val\.txt.* names no image"):
    data.read_pascal_voc(pascal)
  (pascal / "val.txt").write_bytes(b"\xff")
  with pytest.raises(ValueError, match=r"val\.txt' is no text in UTF-8"):
    data.read_pascal_voc(pascal)
  (pascal / "val.txt").unlink()
  with pytest.raises(FileNotFoundError, match=r"val\.txt"):
    data.read_pascal_voc(pascal)
  with pytest.raises(FileNotFoundError, match="it looks like one for read_pascal_voc"):
    data.read_sun_rgbd(pascal)


def test_sun_rgbd(tmp_path):
  for i, part in enumerate(("test", "train")):
    name = f"img-{i:06d}"
    save(tmp_path / f"SUNRGBD-{part}_images" / f"{name}.jpg", photo(6, 9))
    save(
      tmp_path / "sunrgbd_train_test_labels" / f"{name}.png",
      np.array([[0, 37, 1] * 3] * 6, np.uint8),
    )
  splits = data.read_sun_rgbd(tmp_path)
  assert len(splits.classes["segmentation"]) == 37
  assert splits.train[0]["segmentation"][0].tolist() == [-1, 36, 0] * 3
  assert splits.val[0]["segmentation"].shape == (385, 513)
  save(tmp_path / "sunrgbd_train_test_labels" / "img-000001.png", np.full((6, 9), 38, np.uint8))
  with pytest.raises(ValueError, match=r"img-000001\.png.* has the label 38"):
    data.read_sun_rgbd(tmp_path).train[0]


def test_cityscapes_for_classes_alone(tmp_path):
  for part in ("train", "val"):
    save(tmp_path / "images" / part / "0.png", photo(4, 6))
    save(tmp_path / "labels" / part / "0.png", np.array([[7, 8, 33, 0, 1, 26]] * 4, np.uint8))
  splits = data.read_cityscapes_images(tmp_path)
  assert splits.train[0]["segmentation"][0].tolist() == [0, 1, 18, -1, -1, 13]
  assert splits.classes["segmentation"] == data.CITYSCAPES_CLASSES
  save(tmp_path / "labels" / "val" / "0.png", np.full((4, 6), 99, np.uint8))
  with pytest.raises(ValueError, match=r"0\.png.*99"):
    data.read_cityscapes_images(tmp_path).val[0]


def test_one_of_two_sizes(tmp_path):
  save(tmp_path / "a.png", photo(4, 6))
  one = data.MapFiles("image", (tmp_path / "a.png",), np.load)
  with pytest.raises(ValueError, match=r"size is \(2, 2\) and pad_to \(3, 3\)"):
    data.DenseFiles({"image": one}, (2, 2), pad_to=(3, 3))
