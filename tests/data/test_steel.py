"""The steel data set in its published layout, and digits with a mass."""

import pathlib

import numpy as np
import openpyxl
import pytest
from PIL import Image

from jaxmtl.data import PropertyImages, digits_ink, load_steel

HEADER = ["Directory", "Filename", "Full path", "class label (object)", "regression label (HV)"]
PARTS = ("trainset", "validset", "testset")


def name_of(label, micrograph, tile):
  # Two schemes, as published: one underscore or several, commas, and either file type.
  end = "tif" if label else "png"
  return f"{label}h_{micrograph},5mm____{tile}_{tile + 1}.{end}"


@pytest.fixture
def folder(tmp_path):
  """Two classes of eight micrographs, whose tiles are spread over the parts."""
  tiles = [(label, m, t) for label in (0, 1) for m in range(8) for t in range(5)]
  for part, name in enumerate(PARTS):
    rows = []
    for label, m, t in (tile for i, tile in enumerate(tiles) if (0, 0, 0, 1, 2)[i % 5] == part):
      file = tmp_path / name / str(label) / name_of(label, m, t)
      file.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.full((4, 6, 3), 100 * label + 10 * m + t, np.uint8)).save(file)
      rows.append([f"{name}/{label}", file.name, "", label, 100 + 100 * label + m])
    write(tmp_path / f"{name}.xlsx", rows)
  return tmp_path


def write(path, rows, empty=20):
  book = openpyxl.Workbook()
  for row in [HEADER, *rows]:
    book.active.append(row)
  # Rows that once had something in them stay in the file, as in the published trainset.xlsx.
  book.active.cell(len(rows) + 1 + empty, 2).number_format = "0.0"
  book.save(path)


def read(path):
  return [list(row) for row in openpyxl.load_workbook(path).active.values if row[1]][1:]


def test_the_published_split(folder):
  splits = load_steel(folder, image_size=4)
  assert [len(part) for part in splits[:3]] == [48, 16, 16]
  assert splits.class_names == ("0", "1")
  for part in splits[:3]:
    assert part.images.shape[1:] == (4, 4, 3)
    # Every image has its own row's class and hardness.
    shade = part.images[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(part.classes, shade // 100)
    np.testing.assert_array_equal(part.values, 100 + 100 * part.classes + shade % 100 // 10)
  assert load_steel(folder).test.images.shape[1:3] == (4, 6)


def test_micrographs_of_16_bits_are_scaled_and_bad_ones_named(folder):
  file = sorted((folder / "testset" / "1").iterdir())[0]
  shades = np.array([[0, 257 * 100, 65535] * 2] * 4, np.uint16)
  Image.fromarray(shades).save(file)
  part = load_steel(folder).test
  image = part.images[np.flatnonzero(part.classes)[0]]
  assert image[0, :3, 0].tolist() == [0, 100, 255]
  assert (image == image[..., :1]).all()
  Image.fromarray(shades.astype(np.float32)).save(file)
  with pytest.raises(ValueError, match=rf"{file.name}' cannot be taken: it is of mode 'F'"):
    load_steel(folder)
  file.write_bytes(b"II*\0 no image")
  with pytest.raises(ValueError, match=rf"{file.name}' is no image"):
    load_steel(folder)


def test_no_micrograph_is_in_two_parts(folder):
  splits = load_steel(folder, image_size=4, split="grouped")
  groups = [set(part.values.tolist()) for part in splits[:3]]  # here a hardness is a micrograph
  assert sum(map(len, groups)) == len(set.union(*groups)) == 16
  assert sum(map(len, splits[:3])) == 80
  for part in splits[:3]:
    assert np.ptp(np.bincount(part.classes, minlength=2)) <= 5
  assert all(5 <= len(part) <= 15 for part in splits[1:3])
  again, other = (load_steel(folder, image_size=4, split="grouped", seed=s) for s in (0, 1))
  np.testing.assert_array_equal(again.test.values, splits.test.values)
  assert set(other.test.values.tolist()) != groups[2]


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    (lambda rows: rows[:-1], ValueError, r"no row for 1 image"),
    (lambda rows: [*rows, rows[0]], ValueError, r"row 18: .* has a row already"),
    (lambda rows: [[*rows[0][:3], 7, 9.0], *rows[1:]], ValueError, r"row 2: class 7 is not known"),
    (lambda rows: [[*rows[0][:4], None], *rows[1:]], ValueError, r"row 2: the hardness .* None"),
    (lambda rows: [[*rows[0][:4], "nan"], *rows[1:]], ValueError, r"finite number, got 'nan'"),
    (lambda rows: [*rows, ["", "x_1_1.png", "", 0, 5]], FileNotFoundError, r"no image .*x_1_1"),
    (lambda rows: [], ValueError, r"'validset.xlsx' has no rows"),
    *(
      (lambda rows, v=v: [[*rows[0][:4], v], *rows[1:]], ValueError, f"row 2: the hardness.*{text}")
      for v, text in ((True, "got True"), (-5, "got -5"), (1e300, r"got 1e\+300"))
    ),
    # Names that lead out of the data, to a file that is there.
    *(
      (lambda rows, f=f: [["", f, "", 0, 5.0], *rows], ValueError, r"row 2: .* without a path")
      for f in (str(pathlib.Path(__file__)), "../../validset.xlsx", "..")
    ),
  ],
)
def test_tables_that_do_not_fit_the_images(folder, change, error, message):
  path = folder / "validset.xlsx"
  write(path, change(read(path)))
  with pytest.raises(error, match=message):
    load_steel(folder, image_size=4)


def test_what_is_missing_is_named(folder):
  with pytest.raises(FileNotFoundError, match="no folder 'trainset'"):
    load_steel(folder / "nowhere")
  with pytest.raises(ValueError, match="'published' or 'grouped', got 'random'"):
    load_steel(folder, split="random")
  book = openpyxl.Workbook()
  book.active.append(["a", "b"])
  book.save(folder / "testset.xlsx")
  with pytest.raises(ValueError, match=r"regression label, got \['a', 'b'\]"):
    load_steel(folder)
  for content in (b"", b"PK\x03\x04 no archive", b"<html>"):
    (folder / "testset.xlsx").write_bytes(content)
    with pytest.raises(ValueError, match=r"'testset\.xlsx' is no table of Excel's"):
      load_steel(folder)
  (folder / "testset.xlsx").unlink()
  with pytest.raises(FileNotFoundError, match=r"testset\.xlsx"):
    load_steel(folder)


def test_too_few_micrographs_for_a_grouped_split(folder):
  for part in PARTS:
    rows = [row for row in read(folder / f"{part}.xlsx") if not (row[3] and "6," in row[1])]
    rows = [row for row in rows if not (row[3] and "7," in row[1])]
    kept = {(row[3], row[1]) for row in rows}
    for file in (folder / part).rglob("*.*"):
      if (int(file.parent.name), file.name) not in kept:
        file.unlink()
    write(folder / f"{part}.xlsx", rows)
  with pytest.raises(ValueError, match=r"at least 7 micrographs of every class, .* has 6"):
    load_steel(folder, split="grouped")


def test_images_need_one_size_and_finite_values(folder):
  file = next((folder / "testset" / "0").iterdir())
  Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(file)
  with pytest.raises(ValueError, match="choose an image_size"):
    load_steel(folder)
  with pytest.raises(ValueError, match="values must be finite, got nan at image 1"):
    PropertyImages(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, int), np.array([1, np.nan]))
  with pytest.raises(ValueError, match=r"values must be finite, got 1e\+300 at image 0 .* 32 bits"):
    PropertyImages(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, int), np.array([1e300]))


def test_the_mass_of_a_digit_is_measured_on_its_image():
  splits = digits_ink()
  for part in splits[:3]:
    ink = part.images.astype(float).sum((1, 2, 3)) / 255
    np.testing.assert_allclose(part.values, 5 * 1.25**part.classes * ink, rtol=1e-6)
  assert not np.array_equal(digits_ink(1).validation.values, splits.validation.values)
  np.testing.assert_array_equal(digits_ink(1).test.values, splits.test.values)
