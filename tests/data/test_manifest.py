"""Images of one's own: tables and folders, kinds of columns, parts, pixels, errors."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from jaxmtl import data

HEADER = "path,kind,age,stars"


def shade(i):
  return np.full((6, 6), i, np.uint8)


@pytest.fixture
def table(tmp_path):
  """20 images with a class, a number and an integer, and a gap in each."""
  lines = [HEADER]
  for i in range(20):
    Image.fromarray(shade(i)).save(tmp_path / f"{i}.png")
    kind = "" if i == 3 else ("cat", "dog")[i % 2]
    age = "" if i == 4 else f"{i + 0.5}"
    stars = "" if i == 5 else f"{10 - i % 2}"
    lines.append(f"{i}.png,{kind},{age},{stars}")
  return write(tmp_path / "labels.csv", lines)


def write(path, lines, encoding="utf-8"):
  path.write_text("\n".join(lines) + "\n", encoding)
  return path


def changed(table, row, text):
  """The table with another line; row 1 is the header."""
  lines = table.read_text().splitlines()
  lines[row - 1] = text
  return write(table, lines)


def test_columns_are_classes_or_numbers(table):
  files = data.read_manifest(table)
  # Integers in the order of size, not of letters: 9 before 10.
  assert files.classes == {"kind": ("cat", "dog"), "age": (), "stars": ("9", "10")}
  assert files.labels["kind"][:5].tolist() == [0, 1, 0, -1, 0]
  assert files.labels["stars"][:6].tolist() == [1, 0, 1, 0, 1, -1]
  np.testing.assert_array_equal(files.labels["age"][:5], [0.5, 1.5, 2.5, 3.5, np.nan])
  other = data.read_manifest(table, tasks=["stars"], regression=["stars"])
  assert other.classes == {"stars": ()}
  assert other.labels["stars"][:2].tolist() == [10, 9]
  assert data.read_manifest(table, tasks=["kind"]).labels.keys() == {"kind"}


def test_a_table_may_be_written_by_others(table, tmp_path):
  wanted = data.read_manifest(table)
  lines = table.read_text().replace(",", ";").splitlines()
  excel = write(tmp_path / "excel.csv", ["", *lines, ";;;"], "utf-8-sig")
  columns = {
    "path": list(wanted.names),
    "kind": [None if k < 0 else ("cat", "dog")[k] for k in wanted.labels["kind"]],
    "age": wanted.labels["age"],
    # As pandas holds integers with gaps.
    "stars": [np.nan if k < 0 else (9.0, 10.0)[k] for k in wanted.labels["stars"]],
  }
  parquet = tmp_path / "labels.parquet"
  pyarrow.parquet.write_table(pyarrow.table(columns), parquet)
  for path in (excel, parquet):
    found = data.read_manifest(path)
    assert (found.names, found.classes) == (wanted.names, wanted.classes)
    for task in wanted.classes:
      np.testing.assert_array_equal(found.labels[task], wanted.labels[task])


def test_drawn_parts_are_stratified_and_the_test_part_stays(table):
  splits = [data.read_manifest(table).split(seed) for seed in (0, 0, 1)]
  for found in splits:
    assert {part: len(rows) for part, rows in found.items()} == {
      "train": 12,
      "validation": 4,
      "test": 4,
    }
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(20))
    assert sorted(i % 2 for i in found["test"]) == [0, 0, 1, 1]
  np.testing.assert_array_equal(splits[0]["train"], splits[1]["train"])
  np.testing.assert_array_equal(splits[0]["test"], splits[2]["test"])
  assert set(splits[0]["train"]) != set(splits[2]["train"])


def test_parts_may_be_named(table):
  lines = table.read_text().splitlines()
  names = ["train"] * 12 + ["val"] * 4 + ["Test"] * 4
  write(table, [f"{lines[0]},split", *(f"{x},{y}" for x, y in zip(lines[1:], names, strict=True))])
  splits = data.load_files(table)
  assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
  assert "split" not in splits.classes
  assert splits.test.load()["image"][:, 0, 0, 0].tolist() == [16, 17, 18, 19]
  write(table, [line.replace(",val", ",train") for line in table.read_text().splitlines()])
  assert data.load_files(table).validation is None
  changed(table, 3, "1.png,cat,1.5,9,training")
  with pytest.raises(ValueError, match=r"labels.csv, row 3: split must be train.* 'training'"):
    data.load_files(table)


def test_examples_are_read_when_asked_for(table, monkeypatch):
  splits = data.load_files(table)
  (table.parent / "19.png").unlink()
  rows = [int(path.stem) for path in splits.train.paths]
  example = splits.train[2]
  assert example["image"].shape == (6, 6, 1)
  assert example["image"][0, 0, 0] == rows[2]
  loaded = splits.train.load() if 19 not in rows else splits.test.load()
  assert loaded["image"].dtype == np.uint8
  holder = next(p for p in (splits.train, splits.validation, splits.test) if _has(p, "19.png"))
  with pytest.raises(FileNotFoundError, match=r"labels.csv, row 21: there is no image .*19.png"):
    holder.load()


def _has(part, name):
  return any(path.name == name for path in part.paths)


def test_the_fingerprint_follows_the_content_and_not_the_place(table, tmp_path):
  before = data.load_files(table).fingerprint
  moved = tmp_path / "moved"
  table.parent.rename(tmp_path.parent / "elsewhere")
  (tmp_path.parent / "elsewhere").rename(moved.parent)
  assert data.load_files(table).fingerprint == before
  changed(table, 2, "0.png,dog,0.5,10")
  assert data.load_files(table).fingerprint != before


def test_16_bits_are_scaled_and_not_clipped(table):
  deep = np.full((6, 6), 0x8000, np.uint16)
  deep[0] = 65535
  Image.fromarray(deep).save(table.parent / "0.png")
  splits = data.load_files(table)
  part = next(p for p in (splits.train, splits.validation, splits.test) if _has(p, "0.png"))
  image = part[[path.name for path in part.paths].index("0.png")]["image"]
  assert (image.dtype, image.shape) == (np.uint8, (6, 6, 1))
  assert image[:2, 0, 0].tolist() == [255, 128]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_alpha_channel_may_hide_nothing(table, mode):
  file = table.parent / "0.png"
  opaque = Image.new("RGBA", (6, 6), (10, 20, 30, 255))
  opaque.convert(mode).save(file)
  form = data.Form(3, None)
  assert data.read_image(file, form).shape == (6, 6, 3)
  opaque.putpixel((0, 0), (10, 20, 30, 100))
  if mode == "P":
    opaque.convert("P").save(file, transparency=0)
  else:
    opaque.convert(mode).save(file)
  with pytest.raises(ValueError, match=r"row 2: .*0.png.* transparent pixels"):
    data.read_image(file, form, "row 2")


def test_photographs_are_turned(tmp_path):
  pixels = np.zeros((8, 16), np.uint8)
  pixels[:, :8] = 255
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned clockwise
  Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
  image = data.read_image(tmp_path / "a.jpg", data.Form(1, None))
  assert image.shape == (16, 8, 1)
  assert image[2].mean() > 200 > 50 > image[-2].mean()
  Image.fromarray(np.ascontiguousarray(pixels.T)).save(tmp_path / "b.jpg")
  paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
  assert data.common_form(paths, ["a", "b"]) == data.Form(1, None)


def test_images_of_many_sizes_need_a_size(table):
  Image.new("RGB", (12, 8), (200, 0, 0)).save(table.parent / "7.png")
  with pytest.raises(ValueError, match=r"row 9: image .*7.png' is 12x8, the first one 6x6; give"):
    data.load_files(table)
  splits = data.load_files(table, image_size=4)
  assert splits.train.load()["image"].shape == (12, 4, 4, 3)


BAD = [
  (9, "8.png,lizzard", "row 9: it has 2 cells, the header 4"),
  (9, "x.png,cat,1.5,9", "row 9: there is no image .*x.png"),
  (9, "3.png,cat,1.5,9", "row 9: '3.png' stands in labels.csv, row 5 already"),
  (9, "./3.png,cat,1.5,9", "row 9: './3.png' stands in labels.csv, row 5 already"),
  (9, ",cat,1.5,9", "row 9: column 'path' is empty"),
  (9, "7.png,cat,old,9", "row 9: column 'age' has 'old' where numbers are; .*--classification age"),
  (9, "7.png,cat,nan,9", "row 9: column 'age' has 'nan'; leave it empty"),
  (9, "labels.csv,cat,1.5,9", "row 9: .*labels.csv' is no image"),
  (1, "file,kind,age,stars", "labels.csv must have a column 'path', got 'file'"),
  (1, "path,kind,kind,stars", "labels.csv has column 'kind' twice"),
  (1, "path,kind,a/b,stars", "without a slash"),
  (1, "path,image,age,stars", "other than image and valid, got 'image'"),
]


@pytest.mark.parametrize(("row", "text", "message"), BAD)
def test_errors_name_file_and_row(table, row, text, message):
  changed(table, row, text)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
    data.load_files(table)
  assert "\n" not in str(raised.value)


def test_errors_of_whole_columns_name_them(table):
  for options, message in (
    ({"tasks": ["kinds"]}, r"no column 'kinds' \(tasks\); its tasks are kind, age, stars"),
    (
      {"regression": ["kind"]},
      "row 2: column 'kind' has 'cat' where .*out of --regression",
    ),
    ({"regression": ["agee"]}, r"no column 'agee' \(regression\)"),
    ({"regression": ["age"], "classification": ["age"]}, "'age' is named for regression and for"),
    ({"classification": ["age"]}, "labels.csv: column 'age' has another class in every row"),
    ({"image_size": 0}, "image_size must be at least 1"),
  ):
    with pytest.raises(ValueError, match=message):
      data.load_files(table, **options)
  lines = table.read_text().splitlines()
  write(table, [lines[0], *(line.replace("dog", "cat") for line in lines[1:])])
  with pytest.raises(ValueError, match=r"labels.csv: column 'kind' has a single class, 'cat'"):
    data.load_files(table)
  write(table, [lines[0], *(f"{i}.png,,{i}.5,{i % 2}" for i in range(20))])
  with pytest.raises(ValueError, match=r"labels.csv: column 'kind' has no label at all"):
    data.load_files(table)
  write(table, lines[:4])
  with pytest.raises(ValueError, match=r"labels.csv'.*5 images or more"):
    data.load_files(table)


def test_files_that_are_no_tables(tmp_path):
  with pytest.raises(FileNotFoundError, match="there is no table"):
    data.read_manifest(tmp_path / "none.csv")
  (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="no CSV file in UTF-8"):
    data.read_manifest(tmp_path / "a.csv")
  (tmp_path / "b.csv").touch()
  with pytest.raises(ValueError, match=r"b.csv is empty"):
    data.read_manifest(tmp_path / "b.csv")
  (tmp_path / "c.parquet").write_bytes(b"abc")
  with pytest.raises(ValueError, match=r"c.parquet is no Parquet file"):
    data.read_manifest(tmp_path / "c.parquet")
  with pytest.raises(ValueError, match=r"c.csv must have a column for a task"):
    data.read_manifest(write(tmp_path / "c.csv", ["path,split", "a.png,train"]))


def place(folder, names):
  for i, name in enumerate(names):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shade(i)).save(folder / name)


def test_a_folder_a_class(tmp_path):
  place(tmp_path, [f"{kind}/{i}.PNG" for kind in ("dog", "cat") for i in range(10)])
  (tmp_path / "cat" / "notes.txt").touch()
  (tmp_path / ".cache").mkdir()
  splits = data.load_files(tmp_path)
  assert splits.classes == {"class": ("cat", "dog")}
  assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
  for part in (splits.train, splits.test):
    kinds = [path.parent.name for path in part.paths]
    assert [("cat", "dog")[k] for k in part.labels["class"]] == kinds
    assert kinds.count("cat") == len(kinds) / 2
  with pytest.raises(ValueError, match="has the task class, got 'kind'"):
    data.load_files(tmp_path, tasks=["kind"])


def test_folders_of_parts(tmp_path):
  names = [f"{part}/{kind}/a.png" for part in ("train", "val", "test") for kind in ("x", "y")]
  place(tmp_path, names)
  splits = data.load_files(tmp_path)
  assert [part.load()["image"][0, 0, 0, 0] for part in splits[:3]] == [0, 2, 4]
  place(tmp_path, ["test/z/a.png"])
  with pytest.raises(ValueError, match="no class 'z' in train, but in another part"):
    data.load_files(tmp_path)


def test_folders_that_hold_nothing(tmp_path):
  with pytest.raises(FileNotFoundError, match="no folder with images; it must hold a folder a cl"):
    data.load_files(tmp_path)
  with pytest.raises(FileNotFoundError, match="there is no folder"):
    data.load_files(tmp_path / "none")
  place(tmp_path, ["a/0.png", "a/1.png"])
  with pytest.raises(ValueError, match="a single class, 'a'"):
    data.load_files(tmp_path)
  (tmp_path / "b").mkdir()
  with pytest.raises(FileNotFoundError, match="b' has no image"):
    data.load_files(tmp_path)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif"])
def test_files_that_end_too_early_are_found_before_pixels_are_read(tmp_path, kind):
  rng = np.random.default_rng(0)
  paths = [tmp_path / f"{i}.{kind}" for i in range(2)]
  for path in paths:
    Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
  whole = paths[1].read_bytes()
  # A little behind the end is borne, and so is much that ends with no mark.
  for further in (b"\0" * 10, b"\0" * 1000):
    paths[1].write_bytes(whole + further)
    assert data.common_form(paths, ["a", "b"]).channels in (1, 3)
  paths[1].write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match=rf"b: .*1.{kind}' cannot be read: .*truncated"):
    data.common_form(paths, ["a", "b"])
