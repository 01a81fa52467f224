"""Tiny TFDS folders, written without TensorFlow."""

import io
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2


@pytest.fixture
def write_tfds(tmp_path):
  """Write a data set folder: splits map names to lists of (image, label)."""

  def write(splits, *, name="tiny", version="1.0.0", classes=3, shape=(8, 8, 3), coarse=False):
    folder = tmp_path / "tfds" / name / version
    folder.mkdir(parents=True)
    labels = {"label": tfds.features.ClassLabel(names=[f"class{i}" for i in range(classes)])}
    if coarse:
      labels["coarse_label"] = tfds.features.ClassLabel(num_classes=2)
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=shape), **labels})
    features.save_config(folder)
    for split, examples in splits.items():
      path = folder / f"{name.split('/')[0]}-{split}.array_record-00000-of-00001"
      writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
      for image, label in examples:
        writer.write(_example(image, label, coarse))
      writer.close()
    info = {
      "name": name.split("/")[0],
      "version": version,
      "fileFormat": "array_record",
      "splits": [
        {
          "name": split,
          "numBytes": "1",
          "shardLengths": [str(len(examples))],
          "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for split, examples in splits.items()
      ],
    }
    if "/" in name:
      info["configName"] = name.split("/")[1]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path / "tfds"

  return write


@pytest.fixture
def examples():
  """Make random (image, label) pairs, labels in turn."""

  def make(count, *, classes=3, shape=(8, 8, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, shape, dtype=np.uint8), i % classes) for i in range(count)]

  return make


def _example(image, label, coarse):
  file = io.BytesIO()
  Image.fromarray(image.squeeze()).save(file, "PNG")
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature["image"].bytes_list.value.append(file.getvalue())
  feature["label"].int64_list.value.append(label)
  if coarse:
    feature["coarse_label"].int64_list.value.append(label % 2)
  return example.SerializeToString()
