"""Faults put into files, data and processes on purpose, and what comes of them.

Command: `python -m benchmarks.faults --times 5`. Kills and stops at random moments, flipped bits in
checkpoints and logs, two runs in one folder, a full disk, images and labels that are damaged.
Prints a Markdown table: what was done, how often, what happened. Where a training goes on, its
weights are compared, to the bit, with those of one that nothing happened to.
"""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
import optax
import tyro
from PIL import Image

from benchmarks.faults_job import NAME
from jaxmtl import data, training
from jaxmtl.training.results import markdown_table
from jaxmtl.training.writer import read_rows

ROOT = pathlib.Path(__file__).parents[1]
Found = collections.Counter[str]


@dataclasses.dataclass(frozen=True)
class Config:
  """What to do how often.

  Args:
    times: trainings that are hurt, of each kind.
    flips: bytes that are flipped in a checkpoint, one at a time.
    images: that are damaged, of each kind.
    seed: of the moments and places.
  """

  times: int = 5
  flips: int = 200
  images: int = 50
  seed: int = 0


class Trainings:
  """Short trainings in processes of their own, and what they should come to."""

  def __init__(self, folder: pathlib.Path, rng: random.Random):
    self.folder, self.rng = folder, rng
    started = time.monotonic()
    process = self.start("whole")
    while not self.rows("whole") and process.poll() is None:
      time.sleep(0.02)
    self.ready = time.monotonic() - started
    self.output(process)
    self.seconds = time.monotonic() - started - self.ready
    self.want = self.weights("whole")

  def start(self, name: str, limit: int | None = None) -> subprocess.Popen:
    """Starts one, with files of so many KiB at most."""
    command = [sys.executable, "-m", "benchmarks.faults_job", "--workdir", str(self.folder / name)]
    if limit is not None:
      command = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "bash", *command]
    return subprocess.Popen(
      command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

  def output(self, process: subprocess.Popen) -> str:
    return process.communicate(timeout=600)[0]

  def rows(self, name: str) -> list:
    return read_rows(self.folder / name / NAME / "metrics.jsonl")

  def weights(self, name: str) -> bytes | None:
    path = self.folder / name / NAME / "weights.safetensors"
    return path.read_bytes() if path.exists() else None

  def wait_for_a_moment(self, name: str, process: subprocess.Popen) -> None:
    """Until the first rows are there, and some time of what the others take."""
    while not self.rows(name) and process.poll() is None:
      time.sleep(0.02)
    time.sleep(self.rng.random() * 0.8 * self.seconds)

  def end(self, name: str) -> str:
    """Goes on to the end, and says what that is."""
    process = self.start(name)
    said = self.output(process)
    if process.returncode:
      return f"did not go on: {last_line(said)}"
    steps = [row["step"] for row in self.rows(name)]
    if self.weights(name) != self.want:
      return "WRONG: ends with other weights"
    return "went on to the bit" if steps == sorted(set(steps)) else "WRONG: rows of steps twice"


def last_line(said: str) -> str:
  lines = [line for line in said.strip().splitlines() if line.strip()]
  return lines[-1][:90] if lines else "nothing"


def stops(trainings: Trainings, number: int, times: int, code: int | None) -> Found:
  """A signal at a random moment; with a code, all is to be saved and said."""
  found = Found()
  for i in range(times):
    name = f"{signal.Signals(number).name}{i}"
    process = trainings.start(name)
    trainings.wait_for_a_moment(name, process)
    process.send_signal(number)
    said = trainings.output(process)
    if code is not None and process.returncode != code:
      found[f"WRONG: exit code {process.returncode}, {last_line(said)}"] += 1
    elif code is not None and "The same command goes on from there." not in said:
      found[f"WRONG: said {last_line(said)}"] += 1
    else:
      found[trainings.end(name)] += 1
  return found


def two_runs(trainings: Trainings, times: int) -> Found:
  """Two begin at once."""
  found = Found()
  for i in range(times):
    name = f"two{i}"
    both = [trainings.start(name) for _ in range(2)]
    said = [trainings.output(process) for process in both]
    refused = [n for n, process in enumerate(both) if process.returncode]
    told = len(refused) == 1 and "is in use by process" in last_line(said[refused[0]])
    what = "one refused, " if told else f"WRONG: {[last_line(text) for text in said]}; "
    found[what + "the other " + trainings.end(name)] += 1
  return found


def full_disk(trainings: Trainings, times: int) -> Found:
  """Files can be no larger than some KiB, fewer than the largest of the training has."""
  found = Found()
  files = [p for p in (trainings.folder / "whole").rglob("*") if p.is_file()]
  largest = max(path.stat().st_size for path in files)
  for i in range(times):
    name = f"full{i}"
    process = trainings.start(name, limit=trainings.rng.randrange(1, largest // 1024))
    said = trainings.output(process)
    one_line = process.returncode == 1 and last_line(said).startswith("error: ")
    if process.returncode == 0:
      what = "ended all the same"
    else:
      what = "one line" if one_line else f"WRONG: {process.returncode}, {last_line(said)}"
    found[f"{what}; with room, {trainings.end(name)}"] += 1
  return found


def torn_logs(trainings: Trainings, times: int) -> Found:
  """A training is killed, and a byte of its log flipped or its end cut off."""
  found = Found()
  for i in range(times):
    name = f"log{i}"
    process = trainings.start(name)
    trainings.wait_for_a_moment(name, process)
    process.kill()
    process.wait()
    path = trainings.folder / name / NAME / "metrics.jsonl"
    path.write_bytes(damaged(path.read_bytes(), trainings.rng))
    found[trainings.end(name)] += 1
  return found


def damaged(content: bytes, rng: random.Random) -> bytes:
  """A bit flipped, or the end cut off."""
  place = rng.randrange(len(content))
  if rng.random() < 0.5:
    return content[:place]
  return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def flipped_checkpoints(folder: pathlib.Path, rng: random.Random, times: int) -> Found:
  """One bit of the newest of two checkpoints."""
  params = {"w": jax.random.normal(jax.random.key(0), (64, 32)), "b": jax.numpy.zeros(32)}
  step = training.train_step(lambda *_: None, optax.adam(0.1), 2)
  states = {
    n: step.init(jax.tree.map(lambda x, n=n: x + n, params), jax.random.key(n)) for n in (1, 2)
  }
  found = Found()
  with training.Checkpointer(folder) as saver:
    for n, state in states.items():
      saver.save(n, state)
    saver.wait()
    files = [p for p in (folder / "2").rglob("*") if p.is_file() and p.stat().st_size]
    # A file is hit as often as its size makes likely.
    for path in rng.choices(files, [p.stat().st_size for p in files], k=times):
      whole = path.read_bytes()
      place = rng.randrange(len(whole))
      path.write_bytes(
        whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
      )
      n, state = saver.restore(states[1])
      same = jax.tree.map(lambda a, b: bool((a == b).all()), state.params, states[n].params)
      kept = "what was saved" if n == 2 else "the one before, with a warning"
      found[kept if jax.tree.all(same) else "WRONG: other numbers"] += 1
      path.write_bytes(whole)
  return found


def bad_images(folder: pathlib.Path, rng: random.Random, times: int, kind: str) -> Found:
  """One file of ten is damaged."""
  found, pixels = Found(), np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
  for _ in range(times):
    paths = []
    for i, image in enumerate(pixels):
      paths.append(folder / f"{i}.{kind}")
      Image.fromarray(image).save(paths[-1])
    whole = data.ImageFiles(paths, {}, data.Form(3, None)).load()["image"]
    hurt = rng.choice(paths)
    hurt.write_bytes(damaged(hurt.read_bytes(), rng))
    try:
      form = data.common_form(paths, [p.name for p in paths])
      read = data.ImageFiles(paths, {}, form).load()["image"]
      found["read as it was" if (read == whole).all() else "read as other pixels"] += 1
    except ValueError as error:
      # Of sizes that differ, the first file counts.
      named = str(hurt) in str(error) or (hurt == paths[0] and "the first one" in str(error))
      found["refused, named" if named else f"WRONG: {error}"] += 1
  return found


def deep_images(folder: pathlib.Path) -> Found:
  """Kinds of pixels that 8 bits do not hold."""
  found, ramp = Found(), np.linspace(0, 1, 64).reshape(8, 8)
  kinds = {"png": (65535, np.uint16), "tif": (65535, np.uint16), "tiff": (1, np.float32)}
  for end, (largest, dtype) in kinds.items():
    path = folder / f"deep.{end}"
    Image.fromarray((ramp * largest).astype(dtype)).save(path)
    try:
      read = data.read_image(path, data.Form(1, None))[..., 0]
      close = np.abs(read - ramp * 255).max() < 1
      found["scaled to 8 bits" if close else "WRONG: other pixels"] += 1
    except ValueError as error:
      found["refused, named" if str(path) in str(error) else f"WRONG: {error}"] += 1
  return found


def bad_labels(folder: pathlib.Path) -> Found:
  """Tables and .npz files with a label that is none."""
  found = Found()
  for i in range(10):
    Image.fromarray(np.full((4, 4), i, np.uint8)).save(folder / f"{i}.png")
  for value in ("nan", "inf", "1e300", "ten", "-"):
    table = folder / "labels.csv"
    rows = [f"{i}.png,{value if i == 3 else i / 2}" for i in range(10)]
    table.write_text("\n".join(["path,age", *rows]))
    found += _refused(lambda t=table: data.load_files(t), "row 5")
  images = np.zeros((20, 4, 4, 1), np.uint8)
  for wrong in (-1, 255, 2.5, 10**12):
    labels = np.arange(20) % 4 if wrong != 2.5 else (np.arange(20) % 4).astype(float)
    labels[3] = wrong
    np.savez(folder / "a.npz", images=images, labels=labels)
    found += _refused(lambda: data.load(str(folder / "a.npz")), "a.npz")
  return found


def _refused(load: Callable[[], object], name: str) -> Found:
  try:
    load()
  except ValueError as error:
    return Found(["refused, named" if name in str(error) else f"WRONG: {error}"])
  return Found(["WRONG: accepted"])


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
  folder = pathlib.Path(tempfile.mkdtemp(prefix="faults_"))
  try:
    yield folder
  finally:
    shutil.rmtree(folder)


def main(config: Config) -> None:
  logging.disable(logging.WARNING)
  rng, started = random.Random(config.seed), time.monotonic()
  table: dict[str, Found] = {}
  with scratch() as folder:
    for name in ("checkpoints", "images", "labels"):
      (folder / name).mkdir()
    what = "a bit of a checkpoint flipped"
    table[what] = flipped_checkpoints(folder / "checkpoints", rng, config.flips)
    for kind in ("png", "jpg", "gif", "tif"):
      what = f"a .{kind} cut off, or a bit of it flipped"
      table[what] = bad_images(folder / "images", rng, config.images, kind)
    table["images of 16 bits or floats"] = deep_images(folder / "images")
    table["labels that are none"] = bad_labels(folder / "labels")
    trainings = Trainings(folder, rng)
    table["killed at a random moment"] = stops(trainings, signal.SIGKILL, config.times, None)
    table["SIGTERM"] = stops(trainings, signal.SIGTERM, config.times, 0)
    table["Ctrl-C"] = stops(trainings, signal.SIGINT, config.times, 130)
    table["killed, then its log damaged"] = torn_logs(trainings, config.times)
    table["two runs in one folder"] = two_runs(trainings, config.times)
    table["files cannot grow (full disk)"] = full_disk(trainings, config.times)
  rows = [
    [what, str(found.total()), "; ".join(f"{n} {text}" for text, n in found.most_common())]
    for what, found in table.items()
  ]
  print(markdown_table(["what was done", "times", "what happened"], rows))
  print(f"\n{(time.monotonic() - started) / 60:.0f} minutes.")
  if any("WRONG" in text for found in table.values() for text in found):
    raise SystemExit(1)


if __name__ == "__main__":
  main(tyro.cli(Config))
