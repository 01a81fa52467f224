import json
import os
import subprocess
import sys

import numpy as np
import PIL
import pytest

from jaxmtl.data import load


def test_images_and_labels_come_back(write_tfds, examples):
  train, test = examples(7), examples(3, seed=1)
  splits = load("tiny", data_dir=write_tfds({"train": train, "test": test}))
  assert splits.name == "tiny"
  assert splits.validation is None
  for part, stored in ((splits.train, train), (splits.test, test)):
    np.testing.assert_array_equal(part.images, [image for image, _ in stored])
    np.testing.assert_array_equal(part.labels, [label for _, label in stored])
  assert splits.train.class_names == ("class0", "class1", "class2")
  assert splits.train.labels.dtype == np.int32


def test_more_images_than_a_chunk_stay_in_order(write_tfds, examples):
  train = examples(300, shape=(4, 4, 3))
  folder = write_tfds({"train": train, "test": train[:3]}, shape=(4, 4, 3))
  np.testing.assert_array_equal(
    load("tiny", data_dir=folder).train.images, [image for image, _ in train]
  )


def test_tensorflow_is_not_imported(write_tfds, examples):
  folder = write_tfds({"train": examples(3), "test": examples(3)})
  code = (
    "import sys; from jaxmtl.data import load; load('tiny', data_dir=sys.argv[1]); "
    "assert 'tensorflow' not in sys.modules"
  )
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)


def test_grayscale_keeps_one_channel(write_tfds, examples):
  train = examples(3, shape=(8, 8, 1))
  folder = write_tfds({"train": train, "test": train}, shape=(8, 8, 1))
  images = load("tiny", data_dir=folder).train.images
  np.testing.assert_array_equal(images, [image for image, _ in train])


def test_images_of_varying_size_need_image_size(write_tfds):
  red, blue = np.array([255, 0, 0], np.uint8), np.array([0, 0, 255], np.uint8)
  wide = np.broadcast_to(red, (10, 30, 3)).copy()
  wide[:, 10:20] = blue  # The centre.
  tall = wide.transpose(1, 0, 2).copy()
  folder = write_tfds({"train": [(wide, 0), (tall, 1)], "test": [(wide, 0)]}, shape=(None, None, 3))
  with pytest.raises(ValueError, match="image_size must be given for 'tiny'"):
    load("tiny", data_dir=folder)
  images = load("tiny", data_dir=folder, image_size=5).train.images
  assert images.shape == (2, 5, 5, 3)
  np.testing.assert_array_equal(images[:, 2, 2], [blue, blue])


def test_test_split_falls_back_to_validation(write_tfds, examples):
  stored = {"train": examples(6), "validation": examples(3, seed=1)}
  splits = load("tiny", data_dir=write_tfds(stored))
  assert splits.validation is None
  np.testing.assert_array_equal(splits.test.images, [image for image, _ in stored["validation"]])


def test_an_unlabelled_test_split_is_no_test_set(write_tfds, examples):
  unlabelled = [(image, -1) for image, _ in examples(3, seed=2)]
  stored = {"train": examples(6), "validation": examples(3, seed=1), "test": unlabelled}
  splits = load("tiny", data_dir=write_tfds(stored))
  np.testing.assert_array_equal(splits.test.labels, [0, 1, 2])


def test_own_validation_split_is_kept_unless_a_share_is_asked(write_tfds, examples):
  stored = {"train": examples(30), "validation": examples(3, seed=1), "test": examples(3, seed=2)}
  folder = write_tfds(stored)
  assert len(load("tiny", data_dir=folder).validation) == 3
  splits = load("tiny", data_dir=folder, validation=0.2, seed=1)
  assert np.bincount(splits.validation.labels).tolist() == [2, 2, 2]
  assert len(splits.train) == 24


def test_no_test_split_is_an_error(write_tfds, examples):
  with pytest.raises(ValueError, match="must have a labelled split 'test' or 'validation'"):
    load("tiny", data_dir=write_tfds({"train": examples(3)}))


def test_label_key(write_tfds, examples):
  folder = write_tfds({"train": examples(6), "test": examples(3)}, coarse=True)
  coarse = load("tiny", data_dir=folder, label_key="coarse_label").train
  assert coarse.num_classes == 2
  assert coarse.labels.tolist() == [0, 1, 0, 0, 1, 0]
  with pytest.raises(ValueError, match=r"label_key must be one of .*coarse_label.*got 'fine'"):
    load("tiny", data_dir=folder, label_key="fine")


def test_latest_version_is_read_unless_named(write_tfds, examples):
  write_tfds({"train": examples(3), "test": examples(3)}, version="1.0.9")
  folder = write_tfds({"train": examples(6), "test": examples(3)}, version="1.0.10")
  assert len(load("tiny", data_dir=folder).train) == 6
  assert len(load("tiny:1.0.9", data_dir=folder).train) == 3
  with pytest.raises(FileNotFoundError, match="not prepared"):
    load("tiny:9.9.9", data_dir=folder)


def test_configs(write_tfds, examples):
  folder = write_tfds({"train": examples(3), "test": examples(3)}, name="tiny/a")
  assert len(load("tiny", data_dir=folder).train) == 3
  write_tfds({"train": examples(6), "test": examples(3)}, name="tiny/b")
  assert len(load("tiny/b", data_dir=folder).train) == 6
  with pytest.raises(ValueError, match=r"must say which config.*tiny/a.*tiny/b"):
    load("tiny", data_dir=folder)


def test_unknown_name_lists_what_there_is(write_tfds, examples):
  folder = write_tfds({"train": examples(3), "test": examples(3)})
  with pytest.raises(
    ValueError, match=r"'tinny' is not known.*mean.*'tiny'.*digits.*found there: tiny"
  ):
    load("tinny", data_dir=folder)


def test_known_but_not_prepared_says_how(tmp_path):
  with pytest.raises(FileNotFoundError) as error:
    load("cifar100", data_dir=tmp_path / "nowhere")
  for part in ("nowhere", ".[tf]", "download_and_prepare", "<data_dir>/<name>/<version>"):
    assert part in str(error.value)


def test_default_folder_is_that_of_tfds(write_tfds, examples, monkeypatch):
  folder = write_tfds({"train": examples(3), "test": examples(3)})
  monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
  assert len(load("tiny").train) == 3


def test_format_without_random_access_is_explained(write_tfds, examples):
  folder = write_tfds({"train": examples(3), "test": examples(3)})
  info = folder / "tiny" / "1.0.0" / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  with pytest.raises(ValueError, match=r"(?s)without random access.*file_format='array_record'"):
    load("tiny", data_dir=folder)


def named(content, old, new):
  return json.loads(json.dumps(content).replace(old, new))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_prepared_folder_runs_no_code_of_its_own(write_tfds, examples, monkeypatch, legacy):
  home = write_tfds({"train": examples(4), "test": examples(4)})
  folder = home / "tiny" / "1.0.0"
  # A module that lies beside the data, where the current folder is searched for modules.
  (folder / "hostile.py").write_text("raise SystemExit('code was run')")
  monkeypatch.syspath_prepend(str(folder))
  image = "tensorflow_datasets.core.features.image_feature.Image"
  file = folder / "features.json"
  content = named(json.loads(file.read_text()), image, "hostile.Image")
  if legacy:
    content = {"type": "hostile.Image", "content": {}}
  file.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=r"features\.json' names the class 'hostile\.Image'"):
    load("tiny", data_dir=home)
  # Nor in JSON within a text, which some features keep.
  file.write_text(json.dumps({"pythonClassName": image, "json": {"json": json.dumps(content)}}))
  with pytest.raises(ValueError, match="hostile"):
    load("tiny", data_dir=home)
  for text in ("{", "[" * 100_000):
    file.write_text(text)
    with pytest.raises(ValueError, match=r"features\.json' cannot be read"):
      load("tiny", data_dir=home)


def test_a_damaged_record_is_named(write_tfds, examples):
  home = write_tfds({"train": examples(4), "test": examples(4)})
  (file,) = (home / "tiny" / "1.0.0").glob("*train*")
  content = bytearray(file.read_bytes())
  content[next(i for i in range(len(content) // 3, len(content)) if content[i])] ^= 4
  file.write_bytes(bytes(content))
  with pytest.raises(ValueError, match=r"split 'train' of 'tiny' in .* cannot be read .*Corrupted"):
    load("tiny", data_dir=home)


def test_an_image_that_cannot_be_read_is_named(write_tfds, examples, monkeypatch):
  home = write_tfds({"train": examples(4), "test": examples(4)})

  def broken(encoded, channels, size):
    raise PIL.UnidentifiedImageError("cannot identify image file <_io.BytesIO object>")

  monkeypatch.setattr("jaxmtl.data.tfds_source.decode", broken)
  with pytest.raises(ValueError, match=r"image 0 in split 'train' of 'tiny' is no image"):
    load("tiny", data_dir=home)


@pytest.mark.skipif("JAXMTL_TFDS_DIR" not in os.environ, reason="JAXMTL_TFDS_DIR is not set")
def test_real_cifar100():
  splits = load("cifar100", data_dir=os.environ["JAXMTL_TFDS_DIR"])
  assert splits.train.images.shape[1:] == (32, 32, 3)
  counts = np.bincount(splits.train.labels, minlength=100)
  assert counts.min() == counts.max()
