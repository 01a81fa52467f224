"""Folders of images and label maps in their real formats: what is read, and what is refused."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxmtl import data

H, W = 6, 10
ABC = ["a", "b", "c"]


@pytest.fixture(scope="module")
def made():
  return data.rooms(3, (H, W))


def streets(count=3, seed=0):
  """Every class, part and void, and disparities that 16 bits hold exactly."""
  rng = np.random.default_rng(seed)
  return {
    "image": rng.integers(0, 256, (count, H, W, 3), np.uint8),
    "segmentation": rng.integers(-1, 19, (count, H, W)),
    "part": rng.integers(0, 10, (count, H, W)),
    "disparity": rng.integers(-1, 60, (count, H, W, 1)) / np.float32(4),
  }


def photos(count=3, classes=3, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "image": rng.integers(0, 256, (count, H, W, 3), np.uint8),
    "segmentation": rng.integers(-1, classes, (count, H, W)),
  }


def nyuv2(folder, made):
  for part in ("train", "val"):
    data.write_nyuv2(folder, part, made)
  return folder


def cityscapes(folder):
  for part in ("train", "val"):
    data.write_cityscapes(folder, part, streets())
  return folder


def camvid(folder):
  for number, part in enumerate(("train", "val", "test")):
    examples = photos(number + 2, 11, number)
    data.write_dense_folder(folder, part, examples, classes=data.CAMVID_CLASSES, void=11)
  return folder


def same(files, examples, rows=None):
  for i in range(len(files)) if rows is None else rows:
    for name, values in files[i].items():
      np.testing.assert_array_equal(values, examples[name][i], err_msg=name)


def test_nyuv2_comes_back_as_it_was_written(tmp_path, made):
  splits = data.read_nyuv2(nyuv2(tmp_path, made))
  assert (len(splits.train), len(splits.val), splits.test) == (3, 3, None)
  assert splits.classes == {"segmentation": data.ROOM_CLASSES}
  one = splits.train[1]
  assert {k: (v.dtype.name, v.shape) for k, v in one.items()} == {
    "image": ("float32", (H, W, 3)),
    "segmentation": ("int32", (H, W)),
    "depth": ("float32", (H, W, 1)),
    "normal": ("float32", (H, W, 3)),
  }
  same(splits.train, {**made._asdict(), "image": made.image / np.float32(255)})


def test_nyuv2_has_the_authors_types(tmp_path, made):
  """Their files are float64, and labels are floats; and there are more than ten of them."""
  examples = {k: np.repeat(v, 4, 0) for k, v in made._asdict().items()}
  for part in ("train", "val"):
    data.write_nyuv2(tmp_path, part, examples)
  for path in tmp_path.rglob("*.npy"):
    np.save(path, np.load(path).astype(np.float64))
  splits = data.read_nyuv2(tmp_path)
  assert [p.name for p in splits.train.maps["depth"].paths[1:3]] == ["1.npy", "2.npy"]
  one = splits.train[11]
  np.testing.assert_array_equal(one["segmentation"], made.segmentation[2])
  assert one["segmentation"].dtype == np.int32
  assert one["image"].dtype == one["normal"].dtype == np.float32


def test_cityscapes_comes_back_as_it_was_written(tmp_path):
  splits = data.read_cityscapes(cityscapes(tmp_path))
  want = streets()
  want["disparity"] = np.where(want["disparity"] < 0, -1, want["disparity"])
  same(splits.train, want)
  assert [len(names) for names in splits.classes.values()] == [19, 10]
  one = splits.train[0]
  assert one["disparity"].shape == (H, W, 1)
  assert one["image"].dtype == np.uint8


def test_cityscapes_files_are_of_the_data_sets_kinds(tmp_path):
  cityscapes(tmp_path)
  ids = np.asarray(Image.open(tmp_path / "train/seg/0.png"))
  assert set(np.unique(ids)) <= {0, 7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33}
  uids = Image.open(tmp_path / "train/part_seg/0.tif")
  assert uids.mode == "I"
  assert 100_000 * 24 < np.asarray(uids).max() < 100_000 * 34
  raw = Image.open(tmp_path / "train/depth/0.png")
  assert raw.mode.startswith("I")
  assert np.asarray(raw).max() > 255
  # By hand: the disparity 2 at a quarter of the camera's size.
  Image.fromarray(np.full((H, W), 1 + 2 * 256 * 4, np.uint16)).save(tmp_path / "train/depth/0.png")
  # A smaller image has smaller disparities.
  np.testing.assert_array_equal(data.read_cityscapes(tmp_path).train[0]["disparity"], 2)
  np.testing.assert_array_equal(data.read_cityscapes(tmp_path, shrunk=8).train[0]["disparity"], 1)


def test_camvid_comes_back_as_it_was_written(tmp_path):
  splits = data.read_camvid(camvid(tmp_path))
  assert [len(part) for part in splits[:3]] == [2, 3, 4]
  same(splits.test, photos(4, 11, 2))
  loaded = splits.val.load()
  np.testing.assert_array_equal(loaded["segmentation"], photos(3, 11, 1)["segmentation"])
  assert loaded["image"].dtype == np.uint8


def within(folder, parts=("train",), count=2):
  """The other layout, photographs and palette PNG files of which stems alone are the same."""
  examples = photos(count)
  for part in parts:
    for kind in ("images", "labels"):
      (folder / kind / part).mkdir(parents=True)
    for i in range(count):
      Image.fromarray(examples["image"][i]).save(folder / f"images/{part}/street {i}.jpg")
      labels = np.where(examples["segmentation"][i] < 0, 255, examples["segmentation"][i])
      image = Image.fromarray(labels.astype(np.uint8))
      image.putpalette([(37 * k) % 256 for k in range(768)])  # to mode P, numbers as they are
      image.save(folder / f"labels/{part}/street {i}.png")
  return examples


def test_palettes_and_the_other_layout(tmp_path):
  examples = within(tmp_path, ("train", "val"))
  assert Image.open(tmp_path / "labels/train/street 1.png").mode == "P"
  splits = data.read_dense_folder(tmp_path, classes=ABC)
  assert (len(splits.val), splits.test) == (2, None)
  for i in range(2):
    one = splits.train[i]
    np.testing.assert_array_equal(one["segmentation"], examples["segmentation"][i])
    assert one["image"].shape == (H, W, 3)


@pytest.mark.parametrize(
  "table",
  [["a", "b", "c"], {"0": "a", "1": "b", "2": "c"}, {"1": "b", "2": "c", "0": "a"}],
)
def test_names_of_classes_by_a_file(tmp_path, table):
  within(tmp_path)
  (tmp_path / "classes.json").write_text(json.dumps(table))
  assert data.read_dense_folder(tmp_path).classes == {"segmentation": ("a", "b", "c")}
  (tmp_path / "names.json").write_text('["x", "y", "z"]')
  found = data.read_dense_folder(tmp_path, classes=tmp_path / "names.json")
  assert found.classes["segmentation"] == ("x", "y", "z")


def coloured(folder, void=(0, 0, 0)):
  """Labels by colours; returns them with the colours by name."""
  examples = within(folder)
  table = {"a": [128, 0, 0], "b": [0, 128, 64], "c": [7, 7, 7]}
  colours = np.array([*table.values(), void], np.uint8)
  for i, labels in enumerate(examples["segmentation"]):
    Image.fromarray(colours[labels]).save(folder / f"labels/train/street {i}.png")
  (folder / "classes.json").write_text(json.dumps(table))
  return examples, table


def test_classes_by_colours(tmp_path):
  examples, table = coloured(tmp_path)
  by_file = data.read_dense_folder(tmp_path, void=(0, 0, 0)).train
  by_option = data.read_dense_folder(
    tmp_path, classes=list(table), palette=list(table.values()), void=(0, 0, 0)
  ).train
  for files in (by_file, by_option, pickle.loads(pickle.dumps(by_file))):
    np.testing.assert_array_equal(files[1]["segmentation"], examples["segmentation"][1])
  with pytest.raises(ValueError, match=r"street 0.png' has the colour \(0, 0, 0\) at row"):
    data.read_dense_folder(tmp_path).train[0]


def test_void_may_be_any_number(tmp_path):
  """As SUN RGB-D has it: 0 is void, classes begin with 1."""
  examples = within(tmp_path)
  for i, labels in enumerate(examples["segmentation"]):
    path = tmp_path / f"labels/train/street {i}.png"
    Image.fromarray((labels + 1).astype(np.uint8)).save(path)
  files = data.read_dense_folder(tmp_path, classes=ABC, void=0, first_class=1).train
  np.testing.assert_array_equal(files[1]["segmentation"], examples["segmentation"][1])
  with pytest.raises(ValueError, match="no void is known"):
    data.read_dense_folder(tmp_path, classes=ABC, void=None, first_class=1).train[0]
  # 16 bits, and more classes than 8 bits hold.
  raw = np.where(examples["segmentation"][0] < 0, 65535, examples["segmentation"][0] + 300)
  Image.fromarray(raw.astype(np.uint16)).save(tmp_path / "labels/train/street 0.png")
  names = [str(i) for i in range(400)]
  found = data.read_dense_folder(tmp_path, classes=names, void=65535).train[0]["segmentation"]
  np.testing.assert_array_equal(found, np.where(raw == 65535, -1, raw))


def test_depth_and_normals_of_any_folder(tmp_path, made):
  examples = {**made._asdict()}
  data.write_dense_folder(tmp_path, "train", examples, classes=data.ROOM_CLASSES)
  files = data.read_dense_folder(tmp_path).train
  same(files, examples)
  assert set(files.only("depth")[0]) == {"image", "depth"}
  with pytest.raises(ValueError, match="maps are image, segmentation, depth, normal, got 'edges'"):
    files.only("edges")
  # Depth as 16 bits of millimetres, normals as pictures; black or gray where there is none.
  for i in range(3):
    depth, normal = examples["depth"][i, ..., 0], examples["normal"][i]
    (tmp_path / f"traindepth/{i}.npy").unlink()
    (tmp_path / f"trainnormal/{i}.npy").unlink()
    Image.fromarray(np.round(depth * 1000).astype(np.uint16)).save(tmp_path / f"traindepth/{i}.png")
    shown = np.round((normal + 1) * 127.5).astype(np.uint8)
    shown[0, 0] = 0
    Image.fromarray(shown).save(tmp_path / f"trainnormal/{i}.png")
  one = data.read_dense_folder(tmp_path).train[1]
  np.testing.assert_allclose(one["depth"], examples["depth"][1], atol=0.00051)
  want = examples["normal"][1].copy()
  want[0, 0] = 0
  np.testing.assert_allclose(one["normal"], want, atol=0.01)
  assert (one["normal"][~want.any(-1)] == 0).all()
  twice = data.read_dense_folder(tmp_path, depth_scale=0.002).train[1]
  np.testing.assert_allclose(twice["depth"], 2 * one["depth"], rtol=1e-6)


def test_images_are_brought_to_one_size(tmp_path):
  examples = within(tmp_path)
  for i in range(2):
    for kind, end in (("images", "jpg"), ("labels", "png")):
      path = tmp_path / f"{kind}/train/street {i}.{end}"
      if i:
        image = Image.open(path)
        image.resize((2 * W, 3 * H), Image.Resampling.NEAREST).save(path)
  with pytest.raises(ValueError, match=rf"street 1.jpg' is {3 * H}x{2 * W} .* image_size"):
    data.read_dense_folder(tmp_path, classes=ABC)
  files = data.read_dense_folder(tmp_path, classes=ABC, image_size=(H, W)).train
  assert files[0]["image"].shape == files[1]["image"].shape == (H, W, 3)
  np.testing.assert_array_equal(files[1]["segmentation"], examples["segmentation"][1])
  with pytest.raises(ValueError, match="image_size must be height and width"):
    data.read_dense_folder(tmp_path, classes=ABC, image_size=(0, 5))


def test_arrays_are_brought_to_one_size_too(tmp_path, made):
  files = data.read_nyuv2(nyuv2(tmp_path, made)).train
  larger = data.DenseFiles(files.maps, (2 * H, 2 * W))[0]
  assert {k: (v.dtype, v.shape[2:]) for k, v in larger.items()} == {
    k: (v.dtype, v.shape[2:]) for k, v in files[0].items()
  }
  np.testing.assert_array_equal(larger["depth"][::2, 1::2], made.depth[0])
  np.testing.assert_allclose(larger["image"].mean(), files[0]["image"].mean(), atol=0.01)


def test_sources_go_to_other_processes_and_batch(tmp_path, made):
  files = data.read_nyuv2(nyuv2(tmp_path, made)).train
  again = pickle.loads(pickle.dumps(files))
  np.testing.assert_array_equal(again[2]["depth"], made.depth[2])
  batch = data.batches(again, 2, shuffle=False)[0]
  assert batch["normal"].shape == (2, H, W, 3)
  part = files.subset([2, 0])
  np.testing.assert_array_equal(part[0]["depth"], made.depth[2])
  assert [one["depth"].shape for one in part.__getitems__([0, 1])] == [(H, W, 1)] * 2


def test_fingerprints_tell_sets_apart(tmp_path, made):
  one = data.read_nyuv2(nyuv2(tmp_path / "a", made)).train
  same_elsewhere = data.read_nyuv2(nyuv2(tmp_path / "b", made)).train
  assert one.fingerprint() == same_elsewhere.fingerprint()
  assert one.fingerprint() != one.subset([0, 1]).fingerprint()
  assert one.fingerprint() != one.only("depth").fingerprint()


# What is refused when the reader is made, by the name and the header of a file.


def test_a_missing_label_file(tmp_path, made):
  nyuv2(tmp_path, made)
  (tmp_path / "val/normal/1.npy").unlink()
  with pytest.raises(
    FileNotFoundError, match=r"no '.*val/normal/1\.npy' for the image '.*1\.npy' \(of 3 .* 1 lack"
  ):
    data.read_nyuv2(tmp_path)


@pytest.mark.parametrize("name", ["train/label/1.npy", "train/depth/2.npy", "val/normal/0.npy"])
def test_other_sizes_of_arrays(tmp_path, made, name):
  path = nyuv2(tmp_path, made) / name
  np.save(path, np.load(path)[1:])
  message = rf"{path.name}' \(.*\) is {H - 1}x{W} and its image '.*' {H}x{W}; bring them"
  with pytest.raises(ValueError, match=message):
    data.read_nyuv2(tmp_path)


def test_other_sizes_of_images(tmp_path):
  camvid(tmp_path)
  Image.fromarray(np.zeros((H, W + 1), np.uint8)).save(tmp_path / "testannot/1.png")
  with pytest.raises(ValueError, match=rf"testannot/1.png' \(segmentation\) is {H}x{W + 1}"):
    data.read_camvid(tmp_path)


def test_folders_of_the_wrong_set(tmp_path, made):
  folders = {
    "read_nyuv2": nyuv2(tmp_path / "a", made),
    "read_cityscapes": cityscapes(tmp_path / "b"),
    "read_camvid": camvid(tmp_path / "c"),
  }
  within(tmp_path / "d")
  folders["read_dense_folder"] = tmp_path / "d"
  for reader in folders:
    for right, folder in folders.items():
      if reader != right and (reader, right) != ("read_dense_folder", "read_camvid"):
        with pytest.raises(
          FileNotFoundError, match=rf"no folder '.*'; it looks like one for {right}"
        ):
          getattr(data, reader)(folder)
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
      getattr(data, reader)(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir(exist_ok=True)
    with pytest.raises(FileNotFoundError, match=r"no folder '.*'; it must hold"):
      getattr(data, reader)(tmp_path / "empty")


@pytest.mark.parametrize(("keep", "end"), [(False, "and is empty"), (True, "but 'notes.txt'")])
def test_an_empty_split(tmp_path, made, keep, end):
  nyuv2(tmp_path, made)
  for path in (tmp_path / "val/image").iterdir():
    path.unlink()
  if keep:
    (tmp_path / "val/image/notes.txt").write_text("")
  with pytest.raises(ValueError, match=rf"val/image' has no file ending in .npy.*, {end}"):
    data.read_nyuv2(tmp_path)


def test_an_empty_split_of_photographs(tmp_path):
  camvid(tmp_path)
  for path in (tmp_path / "test").iterdir():
    path.unlink()
  with pytest.raises(ValueError, match=r"test' has no file ending in .png"):
    data.read_camvid(tmp_path)


def test_headers_that_cannot_be(tmp_path, made):
  path = nyuv2(tmp_path, made) / "train/image/0.npy"
  good = np.load(path)
  np.save(path, np.moveaxis(good, -1, 0))
  with pytest.raises(ValueError, match=r"0.npy' cannot be taken: its shape is \(3, 6, 10\).*last"):
    data.read_nyuv2(tmp_path)
  np.save(path, good.astype(np.complex64))
  with pytest.raises(ValueError, match="dtype complex64, where image is numbers"):
    data.read_nyuv2(tmp_path)
  np.save(path, good)
  whole = path.read_bytes()
  for half, message in ((whole[: len(whole) // 2], "cannot be taken"), (b"", "it is empty")):
    path.write_bytes(half)
    with pytest.raises(ValueError, match=rf"0.npy' .*{message}"):
      data.read_nyuv2(tmp_path)


def test_modes_that_cannot_be(tmp_path):
  cityscapes(tmp_path / "a")
  Image.fromarray(np.zeros((H, W), np.uint8)).save(tmp_path / "a/train/depth/0.png")
  with pytest.raises(ValueError, match=r"depth/0.png' .* mode 'L', where disparity needs 16 bits"):
    data.read_cityscapes(tmp_path / "a")
  camvid(tmp_path / "b")
  Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "b/trainannot/1.png")
  with pytest.raises(ValueError, match=r"1.png' .* mode 'RGB', where label needs one number"):
    data.read_camvid(tmp_path / "b")
  (tmp_path / "b/trainannot/1.png").write_text("no image")
  with pytest.raises(ValueError, match=r"1.png' is no image"):
    data.read_camvid(tmp_path / "b")
  _, table = coloured(tmp_path / "c")
  within(tmp_path / "d")
  with pytest.raises(ValueError, match="mode 'P', where label needs colours"):
    data.read_dense_folder(tmp_path / "d", classes=list(table), palette=list(table.values()))


def test_two_files_of_one_stem(tmp_path):
  within(tmp_path)
  Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "images/train/street 0.png")
  with pytest.raises(ValueError, match=r"has both 'street 0.jpg' and 'street 0.png'"):
    data.read_dense_folder(tmp_path, classes=ABC)


def test_a_part_without_the_depth_of_the_others(tmp_path, made):
  for part in ("train", "val"):
    data.write_dense_folder(tmp_path, part, made, classes=data.ROOM_CLASSES)
  for path in (tmp_path / "valdepth").iterdir():
    path.unlink()
  (tmp_path / "valdepth").rmdir()
  with pytest.raises(FileNotFoundError, match=r"no folder '.*valdepth'"):
    data.read_dense_folder(tmp_path)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (None, "there is no '.*classes.json' with the names"),
    ("[", "is no JSON file"),
    ("[]", "where names of classes are"),
    ('{"1": "a"}', "with a name for each number from 0"),
    ('{"a": [1, 2, 3], "b": [1, 2, 3]}', r"the colour \(1, 2, 3\) stands for two classes"),
  ],
)
def test_names_of_classes_that_cannot_be(tmp_path, text, message):
  within(tmp_path)
  if text is not None:
    (tmp_path / "classes.json").write_text(text)
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    data.read_dense_folder(tmp_path)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"void": 2}, "void is 2, which is one of the classes 0 to 2"),
    ({"void": (0, 0, 0)}, r"void is the colour \(0, 0, 0\), and classes have none"),
    ({"palette": [(1, 2, 3)]}, "palette has 1 colours for 3 classes"),
    ({"classes": []}, "classes must be at least one"),
  ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
  within(tmp_path)
  with pytest.raises(ValueError, match=message):
    data.read_dense_folder(tmp_path, **{"classes": ABC, **options})


def test_shrunk_that_cannot_be(tmp_path):
  with pytest.raises(ValueError, match="shrunk must be at least 1, got 0"):
    data.read_cityscapes(tmp_path, shrunk=0)


# What is refused when an example is read.


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("label", 13, "has the label 13 at row 2, column 3, where classes are 0 to 12 and void is -1"),
    ("label", -2, "has the label -2"),
    ("label", 1.5, "has the label 1.5 at row 2, column 3, which is no whole number"),
    ("label", np.inf, "has the label inf"),
    ("depth", np.nan, "has the depth nan at row 2, column 3; write 0"),
    ("depth", np.inf, "has the depth inf"),
    ("normal", np.nan, "has the normal nan at row 2, column 3"),
    ("image", 1.5, "has the value 1.5 at row 2, column 3, where an image is in 0 .. 1"),
    ("image", np.nan, "has the value nan"),
  ],
)
def test_values_that_cannot_be(tmp_path, made, name, value, message):
  path = nyuv2(tmp_path, made) / f"train/{name}/1.npy"
  values = np.load(path).astype(np.float64)
  values[2, 3] = value
  np.save(path, values)
  files = data.read_nyuv2(tmp_path).train
  files[0]
  with pytest.raises(ValueError, match=rf"train/{name}/1.npy' {message}"):
    files[1]


def test_labels_of_images_that_cannot_be(tmp_path):
  camvid(tmp_path / "a")
  values = np.full((H, W), 3, np.uint8)
  values[1, 2] = 12
  Image.fromarray(values).save(tmp_path / "a/valannot/1.png")
  with pytest.raises(
    ValueError, match=r"1.png' has the label 12 at row 1, column 2, .* 0 to 10 and void is 11"
  ):
    data.read_camvid(tmp_path / "a").val[1]
  cityscapes(tmp_path / "b")
  Image.fromarray(np.full((H, W), 255, np.uint8)).save(tmp_path / "b/train/seg/2.png")
  with pytest.raises(ValueError, match=r"seg/2.png': ids must be Cityscapes' .* 255"):
    data.read_cityscapes(tmp_path / "b").train[2]


# What cannot be written.


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("segmentation", 19, "segmentation must be from -1 to 18 to be written, got .* to 19"),
    ("part", -1, "part must be from 0 to 9"),
    ("disparity", 64.0, r"disparity \+ 1 must be from 0 to 65535"),
  ],
)
def test_streets_that_cannot_be_written(tmp_path, name, value, message):
  examples = streets(1)
  examples[name] = np.full_like(examples[name], value)
  with pytest.raises(ValueError, match=message):
    data.write_cityscapes(tmp_path, "train", examples)


def test_other_examples_that_cannot_be_written(tmp_path, made):
  with pytest.raises(ValueError, match=r"examples must have .*, got no 'depth'"):
    data.write_nyuv2(tmp_path, "train", {"image": made.image, "segmentation": made.segmentation})
  with pytest.raises(ValueError, match="void must be from 3, no class, to 255, got 2"):
    data.write_dense_folder(tmp_path, "train", photos(), classes=ABC, void=2)
  with pytest.raises(ValueError, match="from -1 to 1 to be written"):
    data.write_dense_folder(tmp_path, "train", photos(), classes=ABC[:2])


def test_a_source_can_be_written(tmp_path, made):
  files = data.read_nyuv2(nyuv2(tmp_path / "a", made)).train
  data.write_dense_folder(tmp_path / "b", "train", files, classes=data.ROOM_CLASSES)
  same(data.read_dense_folder(tmp_path / "b").train, made._asdict())
