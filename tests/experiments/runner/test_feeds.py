"""Where batches come from: orders of every feed, and data that lie on the host, end to end."""

import gc
import time

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from experiments.problems.images import image_problem
from experiments.problems.own_data import OwnDataOptions, is_own, load_own, train_feed
from experiments.runner.feeds import Call, DeviceFeed, DomainFeed, Zip
from experiments.runner.fingerprint import _EXAMPLES
from experiments.runner.host_feed import HostFeed, Rows
from experiments.runner.job import Job, Recipe
from experiments.runner.mesh import Layout
from experiments.runner.methods import Method, update_of
from experiments.runner.run import Runner
from jaxmtl import models, training

pytestmark = pytest.mark.usefixtures("one_layer")
LAYOUT = Layout()


def ids(feed, first=0, length=None, *, seed=0, pairs=False, run=0):
  """What the steps take, `[steps, ...]`; with pairs, of the second batches."""
  length = length or feed.steps
  chunk = feed.chunk(Call(first, length, feed.steps, pairs, LAYOUT))
  chunk = feed.second(chunk) if pairs else chunk
  if isinstance(feed, DeviceFeed):  # the runner maps these parts over runs
    by_run = {name: chunk[name] for name in ("subset", "own")}
    chunk = chunk | jax.tree.map(lambda x: x[run], by_run)
  plan = feed.order(jax.random.key(seed), chunk, feed.steps)
  offset = first % feed.steps
  steps = [jax.tree.map(lambda x, i=i: x[i], plan) for i in range(offset, offset + length)]
  found = [feed.take(chunk, step) for step in steps]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def numbers(count):
  return {"id": np.arange(count)}


def once(values):
  """No example twice."""
  return len(np.unique(values)) == values.size


def test_an_epoch_from_the_device_has_each_example_at_most_once():
  feed = DeviceFeed(numbers(11), 4)
  first, again, other = (ids(feed, seed=seed)["id"] for seed in (0, 0, 1))
  assert (feed.steps, first.shape) == (2, (2, 4))
  assert once(first)
  assert once(other)
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)
  assert (DeviceFeed(numbers(3), 8).batch_size, DeviceFeed(numbers(3), 8).steps) == (3, 1)


def test_each_run_learns_from_its_own_subset_and_arrays():
  subset = np.array([[0, 2, 4, 6], [1, 3, 5, 7]])
  own = {"label": np.stack([np.arange(8), 10 + np.arange(8)])}
  feed = DeviceFeed(numbers(8), 4, subset=subset, own=own)
  assert feed.axes == {"examples": None, "subset": 0, "own": 0}
  for run in (0, 1):
    found = ids(feed, run=run)
    assert set(found["id"].ravel()) == set(subset[run])
    np.testing.assert_array_equal(found["label"], found["id"] + 10 * run)


def test_domains_are_shuffled_each_by_itself():
  feed = DomainFeed({"id": np.arange(30).reshape(10, 3)}, 4)
  found = ids(feed)["id"]
  assert found.shape == (2, 4, 3)
  assert once(found)
  assert (found % 3 == np.arange(3)).all()  # each in its own place
  assert not (found[..., 0] // 3 == found[..., 1] // 3).all()
  assert not np.array_equal(found, ids(feed, seed=1)["id"])


def host(count=22, batch_size=4):
  return HostFeed(Rows(numbers(count)), batch_size, seed=5)


def test_an_epoch_from_the_host_has_each_example_at_most_once():
  feed = host()
  first, second = ids(feed)["id"], ids(feed, feed.steps)["id"]
  assert (feed.steps, first.shape) == (5, (5, 4))
  assert once(first)
  assert once(second)
  assert not np.array_equal(first, second)
  pair = ids(feed, pairs=True)["id"]
  assert once(pair)
  # Another order than that of the first batches, of this epoch and of the next.
  assert not np.array_equal(pair, first)
  assert not np.array_equal(pair, second)


def test_calls_of_any_length_read_the_same():
  feed = host()
  whole = ids(feed, feed.steps)["id"]
  parts = [ids(feed, feed.steps + first, length)["id"] for first, length in ((0, 2), (2, 3))]
  np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_call_is_as_long_as_bytes_allow():
  big = {"image": np.zeros((64, 512, 512, 4), np.uint8)}  # a MiB each
  assert host().most == 16
  assert HostFeed(Rows(big), 32).most == 8
  assert HostFeed(Rows({"image": np.zeros((2, 2**14, 2**14), np.uint8)}), 2).most == 1


class Counted(Rows):
  """Counts what is read, and fails at one example."""

  read, bad = 0, None

  def __getitem__(self, index):
    self.read += 1
    if index == self.bad:
      raise OSError("image file is truncated")
    return super().__getitem__(index)


def test_the_next_call_is_read_while_nobody_waits():
  source = Counted(numbers(22))
  feed = HostFeed(source, 4, seed=5)
  first, second, other = (Call(step, 2, feed.steps, False, LAYOUT) for step in (0, 2, 3))
  feed.chunk(first)
  feed.ahead(second)
  deadline = time.monotonic() + 60
  while source.read < 1 + 16 and time.monotonic() < deadline:
    time.sleep(0.01)
  assert source.read == 1 + 16  # one tells the size
  ahead = feed.chunk(second)
  assert source.read == 1 + 16
  np.testing.assert_array_equal(ahead["passes"][0]["id"], ids(host(), 2, 2)["id"])
  # What was read for a call that does not come is not taken for another one.
  feed.ahead(second)
  np.testing.assert_array_equal(feed.chunk(other)["passes"][0]["id"], ids(host(), 3, 2)["id"])
  both = Zip(a=feed, b=DeviceFeed(numbers(8), 4))
  both.ahead(first)
  before = both.chunk(first) and source.read
  assert before == 1 + 16 + 8 + 8 + 8


def test_what_goes_wrong_ahead_is_raised_where_it_is_needed():
  source = Counted(numbers(22))
  feed = HostFeed(source, 4, seed=5)
  first, second = (Call(step, 2, feed.steps, False, LAYOUT) for step in (0, 2))
  source.bad = int(np.ravel(ids(feed, 2, 2)["id"])[5])
  feed.chunk(first)
  feed.ahead(second)
  feed.chunk(first)
  feed.ahead(second)
  with pytest.raises(OSError, match="truncated"):
    feed.chunk(second)


@pytest.mark.parametrize("kind", ["device", "host"])
def test_the_shorter_of_two_feeds_comes_round_again(kind):
  def feed(count):
    return DeviceFeed(numbers(count), 4) if kind == "device" else host(count)

  both = Zip(labelled=feed(8), unlabelled=feed(26))
  assert (both.steps, both.batch_size, both.most) == (6, 4, both.most)
  chunk = both.chunk(Call(0, 6, 6, False, LAYOUT))
  plan = both.order(jax.random.key(0), chunk, both.steps)
  steps = [jax.tree.map(lambda x, i=i: x[i], plan) for i in range(6)]
  found = [both.take(chunk, step) for step in steps]
  labelled = np.stack([batch["labelled"]["id"] for batch in found])
  assert once(np.stack([batch["unlabelled"]["id"] for batch in found]))
  rounds = labelled.reshape(3, 8)
  assert all(once(one) for one in rounds)
  assert len({tuple(one) for one in rounds}) == 3


class Stop(Exception):
  """As if the process were killed."""


class Watched:
  """Image files that are counted when they are read, up to a limit."""

  def __init__(self, files, limit=10**9):
    self.files, self.limit, self.read, self.labels = files, limit, 0, files.labels

  def __len__(self):
    return len(self.files)

  def __getitem__(self, index):
    self.read += 1
    if self.read > self.limit:
      raise Stop
    return self.files[index]


class OnDevice(HostFeed):
  """Measures how many bytes of images lie on the device when the next chunk is asked for."""

  def chunk(self, call):
    found = super().chunk(call)
    self.sizes = [*getattr(self, "sizes", []), (image_bytes(), image_bytes(found))]
    return found


def image_bytes(tree=None):
  leaves = jax.live_arrays() if tree is None else jax.tree.leaves(tree)
  return sum(leaf.nbytes for leaf in leaves if leaf.dtype == np.uint8)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  lines = ["path,kind,light"]
  for i in range(60):
    Image.fromarray(np.full((8, 8), 4 * i, np.uint8)).save(folder / f"{i}.png")
    lines.append(f"{i}.png,{'ab'[i % 2] if i % 7 else ''},{'' if i % 5 == 0 else i / 7}")
  (folder / "labels.csv").write_text("\n".join(lines))
  return str(folder / "labels.csv")


def job(table, method, limit=10**9):
  images = load_own(table, OwnDataOptions(feed="host"))
  train = Watched(images.parts["train"], limit)
  feed = OnDevice(train, 4, seed=3)
  feed.most, feed.train = 3, train
  recipe = Recipe(lambda steps: optax.sgd(0.05), 2)
  problem = image_problem(images, ("kind", "light"), models.create("convnet4"))
  return Job(
    name="host",
    problem=problem,
    update=update_of(method, problem, recipe, feed.steps),
    feed=feed,
    recipe=recipe,
    identity={"method": str(method)},
    parts=images.measured,
    seeds=(0, 1),
  )


METHODS = {
  "equal": Method(weighting="equal"),
  "auto_lambda": Method(weighting="auto_lambda", options={"primary": [0]}),
}


@pytest.mark.parametrize("name", METHODS)
def test_files_are_read_in_chunks_and_a_kill_changes_no_bit(name, table, tmp_path, one_layer):
  gc.collect()  # an earlier test's error may hold arrays in a circle
  method, before = METHODS[name], image_bytes()
  whole = job(table, method)
  passes = 1 + whole.update.pairs
  outcome = Runner(tmp_path / "whole").run(whole)
  chunk = passes * 3 * 4 * 64  # passes x steps x examples x pixels
  assert whole.feed.steps == 9
  # Nothing else is on the device: neither the 36 images nor the chunk before.
  assert {size for _, size in whole.feed.sizes} == {chunk}
  assert {everything - before for everything, _ in whole.feed.sizes} == {chunk}
  # Each of the 6 is read once, ahead or not; one example tells the size, some the data from others,
  # and a chunk is compiled with.
  assert whole.feed.train.read == 1 + _EXAMPLES + (1 + 6) * passes * 12
  assert outcome.values["accuracy"]["kind"].shape == (2,)
  assert np.isfinite(outcome.values["mae"]["light"]).all()

  # A chunk is read to compile, one example for its size, some for the data; then it ends in the
  # fifth.
  limit = 1 + _EXAMPLES + 5 * passes * 12 + 3
  killed = Runner(tmp_path / "killed", checkpoint_every="3 steps")
  with pytest.raises(Stop):
    killed.run(job(table, method, limit))
  places = (tmp_path / "killed" / "host" / "checkpoints").iterdir()
  assert max(int(place.name) for place in places if place.name.isdigit()) == 12  # of 18
  again = Runner(tmp_path / "killed", checkpoint_every="3 steps").run(job(table, method))
  files = [tmp_path / place / "host" / "weights.safetensors" for place in ("whole", "killed")]
  first, second = (jax.tree.leaves(training.load_weights(file)) for file in files)
  for a, b in zip(first, second, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(again.values["mae"]["light"], outcome.values["mae"]["light"])


def test_files_in_memory_and_from_the_host_are_the_same_images(table):
  lazy, loaded = (load_own(table, OwnDataOptions(feed=kind)) for kind in ("host", "device"))
  assert (lazy.shape, lazy.tasks, lazy.identity) == (loaded.shape, loaded.tasks, loaded.identity)
  assert lazy.labels_missing()
  np.testing.assert_array_equal(lazy.statistics, loaded.statistics)
  for task in ("kind", "light"):
    np.testing.assert_array_equal(lazy.parts["test"].labels[task], loaded.parts["test"][task])
  numbers = loaded.parts["train"]["light"]
  known = numbers[~np.isnan(numbers)]
  np.testing.assert_allclose([known.mean(), known.std()], [0, 1], atol=1e-5)
  one, other = (ids(train_feed(images, 4, "host", 1)) for images in (lazy, loaded))
  for leaf, same in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_array_equal(leaf, same)


def test_a_path_is_told_from_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "photos" / "cats").mkdir(parents=True)
  (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
  (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").touch()
  own = ("photos", "photos/", "./photos", "labels.csv", "a/b.Parquet", "./gone")
  for path in (*own, str(tmp_path / "photos")):
    assert is_own(path), path
  for name in ("digits", "mnist", "cifar100", "mnist_corrupted/shot_noise", "a/b.npz"):
    assert not is_own(name), name
