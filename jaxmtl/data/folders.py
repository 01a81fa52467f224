"""Where data sets lie on disk when no folder is named."""

import os
import pathlib


def tfds_home() -> str:
  """The folder of TensorFlow Datasets: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`."""
  return os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets")


def data_folder(data_dir: str | os.PathLike | None, name: str) -> pathlib.Path:
  """The named folder; where there is none, that of a data set's name in `tfds_home`."""
  return pathlib.Path(data_dir or os.path.join(tfds_home(), name)).expanduser()
