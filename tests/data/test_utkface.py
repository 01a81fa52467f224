"""UTKFace: labels from file names, and its parts."""

import numpy as np
import pytest
from PIL import Image

from jaxmtl.data import load_utkface

MALFORMED = ("61_1_20170109142408075.jpg.chip.jpg", "44_1_7_2017.jpg.chip.jpg", "old_0_1_2.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  home = tmp_path_factory.mktemp("faces")
  (home / "part1").mkdir()
  names = [f"{age}_{age % 2}_{age % 5}_2017010917{age:03d}.jpg.chip.jpg" for age in range(1, 101)]
  for i, name in enumerate((*names, *MALFORMED, "9_0_0_20170116232725357jpg.chip.jpg")):
    shade = np.full((12, 10, 3), i, np.uint8)
    Image.fromarray(shade).save(home / ("part1" if i % 2 else "") / name)
  (home / "notes.txt").write_text("5_0_0_x.jpg")
  return home


def test_labels_come_from_the_names_and_bad_ones_are_named(folder):
  faces = load_utkface(folder, image_size=8)
  assert sorted(faces.skipped) == sorted(MALFORMED)
  assert faces.num_classes == {"age": 7, "gender": 2, "ethnicity": 5}
  parts = (faces.train, faces.validation, faces.test)
  assert [len(part.images) for part in parts] == [71, 10, 20]
  ages = np.concatenate([part.labels["age"] for part in parts])
  # One to nine, and the one without a dot before jpg; from sixty on, all in the last bin.
  assert np.bincount(ages).tolist() == [10, 10, 10, 10, 10, 10, 41]
  shades = np.concatenate([part.images[:, 0, 0, 0] for part in parts])
  for task, values in (("gender", 2), ("ethnicity", 5)):
    labels = np.concatenate([part.labels[task] for part in parts])
    known = shades < 100  # JPEG keeps a shade to within one
    wrong = np.minimum.reduce([labels != (shades.astype(int) + 1 + d) % values for d in (-1, 0, 1)])
    assert not wrong[known].any()


def test_the_test_part_does_not_depend_on_the_seed(folder):
  first, second = (load_utkface(folder, image_size=8, seed=seed) for seed in (0, 1))
  np.testing.assert_array_equal(first.test.images, second.test.images)
  assert not np.array_equal(first.validation.images, second.validation.images)
  assert load_utkface(folder, image_size=8, validation=0).validation is None


def test_the_first_images_of_a_part_are_like_the_others(tmp_path):
  for age in range(10, 50):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{age}_0_0_1.jpg")
  ages = load_utkface(tmp_path, image_size=4, validation=0).train.labels["age"]
  assert set(ages[:16].tolist()) == {1, 2, 3, 4}  # by name, the first 16 would be of two bins


def test_what_does_not_fit_is_named(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no faces of UTKFace \(0 other images\)"):
    load_utkface(tmp_path)
  with pytest.raises(ValueError, match=r"leave something to train on, got 0.5 and 0.5"):
    load_utkface(folder, validation=0.5, test=0.5)
  with pytest.raises(ValueError, match="image_size must be at least 1 pixel, got 0"):
    load_utkface(folder, image_size=0)


def test_suffixes_of_any_case_are_found_and_a_broken_face_is_named(tmp_path):
  for age, suffix in enumerate(("jpg", "JPG", "JPEG", "Png", "png", "jpg") * 4):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{age}_0_0_1.{suffix}")
  faces = load_utkface(tmp_path, image_size=4, validation=0)
  assert len(faces.train.images) + len(faces.test.images) == 24
  whole = (tmp_path / "7_0_0_1.JPG").read_bytes()
  (tmp_path / "7_0_0_1.JPG").write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match=r"7_0_0_1\.JPG' (cannot be read|is no image)"):
    load_utkface(tmp_path, image_size=4)
