"""PASCAL-Context's five tasks from files in their real formats: what is read, what is refused."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import io

from jaxmtl import data

H, W = 12, 18
ACCORDION, PERSON = 1, 284


def scenes():
  """Without people; and with a person whose parts are columns, before an accordion."""
  context = np.full((2, H, W), ACCORDION)
  context[1, :, 6:] = PERSON
  part = np.where(context == PERSON, 1 + (np.arange(W) - 6) // 2, 0)
  segmentation = np.where(context == PERSON, 15, 0)
  segmentation[0, 0] = -1
  normal = np.random.default_rng(0).normal(size=(2, H, W, 3))
  return {
    "image": np.full((2, H, W, 3), (200, 100, 50), np.uint8),
    "segmentation": segmentation,
    "part": part,
    "normal": normal / np.linalg.norm(normal, axis=-1, keepdims=True),
    "saliency": (context == PERSON).astype(int),
    "context": context,
  }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pascal")
  for part in ("train", "val"):
    data.write_pascal_context(folder, part, scenes())
  return folder


@pytest.fixture
def folder(written, tmp_path):
  return shutil.copytree(written, tmp_path / "set")


def read(folder, row=1):
  return data.read_pascal_context(folder, image_size=None).train[row]


def test_what_was_written_comes_back(written):
  splits = data.read_pascal_context(written, image_size=None)
  assert (len(splits.train), len(splits.val), splits.test) == (2, 2, None)
  assert [len(names) for names in splits.classes.values()] == [21, 7]
  want = scenes()
  files = pickle.loads(pickle.dumps(splits.train))
  without, with_person = files[0], files[1]
  for row, one in enumerate((without, with_person)):
    for name in ("segmentation", "saliency"):
      np.testing.assert_array_equal(one[name], want[name][row], err_msg=name)
    assert np.abs(one["image"].astype(int) - want["image"][row]).max() <= 3  # JPEG
  np.testing.assert_array_equal(without["part"], -1)
  np.testing.assert_array_equal(with_person["part"], want["part"][1])
  # An accordion's normals are not known, a person's are.
  assert not without["normal"].any()
  known = want["context"][1] == PERSON
  np.testing.assert_allclose(with_person["normal"][known], want["normal"][1][known], atol=0.01)
  assert not with_person["normal"][~known].any()
  # One column of the two at the border.
  assert not without["edge"].any()
  np.testing.assert_array_equal(with_person["edge"][1:-1].sum(1), 1)
  assert set(np.nonzero(with_person["edge"])[1]) <= {5, 6}
  assert {name: one.dtype.name for name, one in with_person.items()} == {
    **dict.fromkeys(("segmentation", "part", "saliency", "edge"), "int32"),
    **{"image": "uint8", "normal": "float32"},
  }


def test_the_files_are_those_of_the_set(written):
  """As its own programs index them: by places of fields, not by names."""
  annotation = io.loadmat(written / "human_parts/train_000001.mat")["anno"][0][0]
  (person,) = annotation[1][0]
  assert (annotation[0][0], person[0][0], int(person[1][0][0])) == ("train_000001", "person", 15)
  assert person[2].shape == (H, W)
  assert str(person[3][0][0][0][0]) == "head"
  assert [int(part[1].sum()) for part in person[3][0]] == [2 * H] * 6
  (cat,) = io.loadmat(written / "human_parts/train_000000.mat")["anno"][0][0][1][0]
  assert (int(cat[1][0][0]), len(cat[3])) == (8, 0)
  assert (
    io.loadmat(written / "pascal-context/trainval/val_000001.mat")["LabelMap"].dtype == "uint16"
  )
  with Image.open(written / "semseg/VOC12/train_000000.png") as image:
    assert set(np.unique(image)) == {0, 255}


def test_parts_are_grouped_and_those_of_others_left_out(folder):
  path = folder / "human_parts/train_000001.mat"
  annotation = io.loadmat(path)["anno"]
  parts = annotation[0, 0]["objects"][0, 0]["parts"][0]
  names = ("hair", "neck", "rhand", "lfoot", "luleg", "ruarm")
  for part, name in zip(parts, names, strict=True):
    part["part_name"] = np.array([name])
  io.savemat(path, {"anno": annotation})
  assert read(folder)["part"][0, 6::2].tolist() == [1, 2, 4, 6, 5, 3]
  annotation[0, 0]["objects"][0, 0]["class_ind"][...] = 13  # a horse has legs too
  io.savemat(path, {"anno": annotation})
  np.testing.assert_array_equal(read(folder)["part"], -1)


def test_labels_of_the_other_folder_and_one_size(folder):
  (folder / "semseg/pascal-context").mkdir()
  shutil.move(folder / "semseg/VOC12/train_000001.png", folder / "semseg/pascal-context")
  np.testing.assert_array_equal(read(folder)["segmentation"], scenes()["segmentation"][1])
  one = data.read_pascal_context(folder).val[1]
  assert {values.shape[:2] for values in one.values()} == {(512, 512)}
  np.testing.assert_array_equal(np.unique(one["part"]), np.arange(7))


def test_what_is_missing(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match="it looks like one for read_pascal_context"):
    data.read_pascal_voc(folder)
  with pytest.raises(FileNotFoundError, match=r"no folder 'human_parts'; it must hold"):
    data.read_pascal_context(tmp_path)
  for name, message in (
    ("semseg/VOC12/val_000000.png", r"no folder '.*semseg.pascal-context'"),
    ("pascal-context/trainval/val_000001.mat", r"no '.*val_000001.mat' for the image"),
    ("JPEGImages/train_000000.jpg", r"no '.*train_000000.jpg', which train.txt names"),
    ("ImageSets/Context/train.txt", "no '.*train.txt', the stems of the part train"),
  ):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
      data.read_pascal_context(folder)


def test_files_that_cannot_be(folder):
  context = folder / "pascal-context/trainval/train_000001.mat"
  parts = folder / "human_parts/train_000001.mat"
  whole = parts.read_bytes()
  newest = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
  for text, message in (
    (newest, "is of MATLAB's version 7.3"),
    (whole[:-30], "no MATLAB file, or a broken one"),
    (b"", "no MATLAB file, or a broken one"),
    (b"no such thing" * 20, "no MATLAB file, or a broken one"),
    (b"nonsense" * 9, "no MATLAB file, or a broken one"),
    (whole[:60], "no MATLAB file, or a broken one"),
  ):
    parts.write_bytes(text)
    with pytest.raises(ValueError, match=rf"human_parts.train_000001.mat' .*{message}"):
      read(folder)
  for values, message in (
    ({"anno": np.ones((2, 2))}, r"must have anno.objects with class_ind"),
    ({"annotation": 1}, "has no variable anno"),
  ):
    io.savemat(parts, values)
    with pytest.raises(ValueError, match=message):
      read(folder)
  parts.write_bytes(whole)
  annotation = io.loadmat(parts)["anno"]
  annotation[0, 0]["objects"][0, 0]["parts"][0, 0]["part_name"] = np.array(["tail"])
  io.savemat(parts, {"anno": annotation})
  with pytest.raises(ValueError, match=r"has the part 'tail' of a person"):
    read(folder)
  parts.write_bytes(whole)
  io.savemat(context, {"LabelMap": np.ones((H, W - 1), np.uint16)})
  with pytest.raises(ValueError, match=rf"map of \({H}, {W - 1}\), and its image is {H}x{W}"):
    read(folder)
  saliency = folder / "sal_distill/train_000001.png"
  Image.fromarray(np.zeros((H, W), np.uint16)).save(saliency)
  with pytest.raises(ValueError, match=r"uint16 of shape .*, where saliency is 8 bits"):
    data.DenseFiles(data.read_pascal_context(folder, image_size=None).train.only("saliency").maps)[
      1
    ]
  with pytest.raises(ValueError, match="context must be from 1 to 459"):
    data.write_pascal_context(folder, "val", scenes() | {"context": np.zeros((2, H, W), int)})
