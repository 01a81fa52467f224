"""Where data sets lie on disk when no folder is named, and names that stay within one."""

import os
import pathlib


def tfds_home() -> str:
  """The folder of TensorFlow Datasets: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`."""
  return os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets")


def data_folder(data_dir: str | os.PathLike | None, name: str) -> pathlib.Path:
  """The named folder; where there is none, that of a data set's name in `tfds_home`."""
  return pathlib.Path(data_dir or os.path.join(tfds_home(), name)).expanduser()


def check_below(name: str, where: str) -> None:
  """Looks whether a name stays within the folder to which it is relative.

  Args:
    name: of a file, as another file says it.
    where: what says so, for the message.

  Raises:
    ValueError: if it begins at the root, or leads upwards.
  """
  path = pathlib.PurePath(name)
  if path.is_absolute() or ".." in path.parts:
    raise ValueError(
      f"{where}: the name must lead from the folder of the images to one within it, without '..', "
      f"got {name!r}."
    )
