"""Predict: what trained networks say about images; the folder of a training is all that is needed.

  python -m experiments.predict runs/benchmark photos/new           # a folder, or image files
  python -m experiments.predict runs/benchmark a.png b.png --run equal
  python -m experiments.predict runs/benchmark photos/new --csv answers.csv

A class comes with its probability, the mean of the seeds' probabilities; a number in the unit of
the training data, the mean of the seeds' numbers. Networks are rebuilt from network.json and
weights.safetensors, which each training that is finished has in its folder. Images are treated as
those of the training: brought to the same size where these were square (the shorter side is scaled,
then the centre is cut out), else they must have their size.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from typing import Annotated

import numpy as np
import tyro

from experiments.runner.command_line import FAULTS, one_line
from jaxmtl import data, training
from jaxmtl.training.results import print_table
from jaxmtl.training.trained import DESCRIPTION, WEIGHTS


@dataclasses.dataclass(frozen=True)
class Config:
  """What trained networks say about images: classes with their probabilities, and numbers."""

  workdir: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WORKDIR")]
  """Folder of an experiment, or of one of its trainings."""
  images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGES...")]
  """Image files, or folders, of which all images at any depth are taken."""
  run: Annotated[str | None, tyro.conf.arg(name="run")] = None
  """Which training, where the folder has several."""
  csv: str | None = None
  """Write a table to this file instead of the terminal."""
  batch_size: int = 250
  """Images at a time."""


def run(config: Config) -> list[dict[str, str]]:
  """Predicts, and prints or writes a table.

  Returns:
    Its rows, text by column: `image`; by task the class or number, and `<task> probability`.

  Raises:
    OSError: if a folder, a training or an image is not there, or the table cannot be written.
    ValueError: if it is not clear which training is meant, or an image cannot be read.
  """
  if config.batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {config.batch_size}.")
  table_file = None if config.csv is None else _writable(pathlib.Path(config.csv).expanduser())
  home = find_run(pathlib.Path(config.workdir).expanduser(), config.run)
  network = training.load_trained(home)
  files = open_images(network, config.images)
  rows = table(
    network, [str(p) for p in files.paths], network.predict(files, batch_size=config.batch_size)
  )
  if table_file is not None:
    with (
      training.replacing(table_file) as draft,
      draft.open("w", newline="", encoding="utf-8") as file,
    ):
      writer = csv.DictWriter(file, list(rows[0]))
      writer.writeheader()
      writer.writerows(rows)
    print(f"{len(rows)} image(s) by {home}, {_seeds(network.runs)}: {config.csv}")
  else:
    print_table(
      f"{home}, {_seeds(network.runs)}", list(rows[0]), [list(row.values()) for row in rows]
    )
  return rows


def _writable(path: pathlib.Path) -> pathlib.Path:
  """The file of `--csv`, at once: not after all images, and not in place of a table of labels."""
  if not path.parent.is_dir():
    raise FileNotFoundError(f"csv: there is no folder {str(path.parent)!r}.")
  if path.is_dir():
    raise IsADirectoryError(f"csv: {str(path)!r} is a folder; name a file.")
  if path.is_file() and not path.read_bytes()[:6] == b"image,":
    raise FileExistsError(f"csv: {str(path)!r} is there and has no predictions; name another file.")
  return path


def _seeds(runs: int) -> str:
  return "one seed" if runs == 1 else f"mean of {runs} seeds' probabilities and numbers"


def find_run(workdir: pathlib.Path, name: str | None) -> pathlib.Path:
  """The folder of a training.

  Raises:
    FileNotFoundError: if there is none, or none of this name.
    ValueError: if there are several and none is named; it lists them.
  """
  if not workdir.is_dir():
    raise FileNotFoundError(f"workdir: there is no folder {str(workdir)!r}.")
  if name is None and (workdir / DESCRIPTION).is_file():
    return workdir
  found = sorted(
    path.parent.relative_to(workdir).as_posix()
    for path in workdir.rglob(DESCRIPTION)
    if (path.parent / WEIGHTS).is_file()
  )
  if not found:
    raise FileNotFoundError(
      f"{workdir} has no finished training whose network can be rebuilt ({DESCRIPTION} and "
      f"{WEIGHTS})."
    )
  if name is None and len(found) > 1:
    raise ValueError(f"{workdir} has several trainings; choose one with --run: {', '.join(found)}.")
  if name is not None and name not in found:
    raise FileNotFoundError(f"run: {workdir} has no training {name!r}; it has {', '.join(found)}.")
  return workdir / (name or found[0])


def open_images(network: training.Trained, names: tuple[str, ...]) -> data.ImageFiles:
  """The files, in the form of the training's images.

  Raises:
    FileNotFoundError: if one is not there, or a folder has none.
    ValueError: if one is no image, or has another size and may not be scaled.
  """
  paths: list[pathlib.Path] = []
  for name in names:
    path = pathlib.Path(name).expanduser()
    found = data.find_images(path) if path.is_dir() else [path]
    if not found:
      raise FileNotFoundError(f"folder {name!r} has no image.")
    paths += found
  if not paths:
    raise ValueError("images: name one file or folder at least.")
  height, width, channels = network.shape
  if height == width:
    data.common_form(paths, [""] * len(paths), height)  # raises where one cannot be read
    return data.ImageFiles(paths, {}, data.Form(channels, height))
  files = data.ImageFiles(paths, {}, data.Form(channels, None))
  for i, path in enumerate(paths):
    if files[i]["image"].shape != network.shape:
      raise ValueError(
        f"{path} is {files[i]['image'].shape[:2]}, the training's images are {(height, width)} "
        "(height, width): bring it to that size."
      )
  return files


def table(
  network: training.Trained, images: list[str], found: dict[str, np.ndarray]
) -> list[dict[str, str]]:
  """A row an image: every task's class with its probability, or number."""
  rows = []
  for i, image in enumerate(images):
    row = {"image": image}
    for task, names in network.tasks.items():
      answer = found[task][i]
      if names:
        row[task] = names[int(answer.argmax())] if np.isfinite(answer).all() else "nan"
        row[f"{task} probability"] = f"{answer.max():.3f}"
      else:
        row[task] = f"{answer:.6g}"
    rows.append(row)
  return rows


def main(args: list[str] | None = None) -> None:
  """The command line."""
  config = tyro.cli(Config, args=args, prog="python -m experiments.predict")
  try:
    run(config)
  except FAULTS as error:
    raise SystemExit(f"error: {one_line(error)}") from error
  except KeyboardInterrupt:
    raise SystemExit(130) from None


if __name__ == "__main__":
  main()
