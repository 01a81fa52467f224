"""Prismer's data in files: read in turn or all at once, labels that do not fit, first weights."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image
from safetensors.numpy import save_file

from experiments.prismer import jobs
from experiments.prismer import material as material_module
from experiments.prismer.config import PRESETS
from experiments.prismer.material import load
from experiments.prismer.weights import VOCABULARY, first_weights
from experiments.runner.config import override
from experiments.runner.feeds import Call
from experiments.runner.host_feed import HostFeed
from experiments.runner.job import WEIGHTS
from experiments.runner.mesh import Layout
from jaxmtl import training
from jaxmtl.data import experts
from jaxmtl.models import prismer
from jaxmtl.models.prismer.convert import shapes


@pytest.fixture
def flickr(tmp_path):
  """Images with one to three captions in the form of Flickr8k, and labels of three experts."""
  rng = np.random.default_rng(0)
  (tmp_path / "Images").mkdir()
  entries = []
  for i, split in enumerate(("train", "train", "train", "val", "val", "test")):
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"Images/{i}.png")
    objects = rng.choice(np.array([0, 1, 255], np.uint8), (20, 30))
    for name, label in (
      ("edge", experts.Label(rng.integers(0, 256, (20, 30), np.uint8))),
      ("seg", experts.Label(rng.integers(0, 5, (20, 30), np.uint8))),
      ("obj_detection", experts.Label(objects, {0: i, 1: 721})),
    ):
      path = tmp_path / "labels" / name / f"Images/{i}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      experts.write_label(path, name, label)
    sentences = [{"raw": f"{word} {i} runs ."} for word in ("Dog", "Cat", "Bird")[: 1 + i % 3]]
    entries.append({"filename": f"{i}.png", "split": split, "sentences": sentences})
  (tmp_path / "dataset_small.json").write_text(json.dumps({"images": entries}))
  (tmp_path / "features").mkdir()
  np.save(tmp_path / "features/seg.npy", rng.normal(size=(6, 64)))
  np.save(tmp_path / "features/obj_detection.npy", rng.normal(size=(722, 64)))
  return tmp_path


def options(folder, **changes):
  found = override(
    PRESETS["flickr8k"],
    **{"data_dir": str(folder), "labels": str(folder / "labels"), "batch_size": 2, "width": 8},
    **{"features": str(folder / "features"), "experts": ("edge", "seg", "obj_detection")},
    **{"image_size": 24, "patch_size": 12, "heads": 2, "resampler_heads": 2, "vision_layers": 1},
    **{"text_layers": 1, "resampler_layers": 1, "resampler_latents": 2, "vocab_size": 300},
    **{"variants": ("prismer", "prismerz")},
  )
  return override(found, **changes)


def test_files_read_in_turn_are_those_of_memory(flickr, monkeypatch):
  config = options(flickr)
  inside = load(config)
  monkeypatch.setattr(material_module, "_IN_MEMORY", 0)
  outside = load(config)
  assert (inside.in_memory, outside.in_memory) == (True, False)
  full, plain = jobs.plan(config, outside).values()
  feed = full.job.feed
  assert isinstance(feed, HostFeed)
  assert feed.steps == 3  # six captions by two
  call = Call(0, feed.steps, feed.steps, False, Layout())
  batches = feed.chunk(call)["passes"][0]
  rows = {name: np.asarray(x).reshape(6, *x.shape[2:]) for name, x in batches.items()}
  train, seen = inside.train, set()
  for i in range(6):
    one = {name: x[i] for name, x in rows.items()}
    (image,) = np.flatnonzero((train["rgb"] == one["rgb"]).all((1, 2, 3)))
    texts = train["caption/ids"][image, : train["caption/count"][image]]
    (text,) = np.flatnonzero((texts == one["caption/ids"]).all(-1))
    seen.add((int(image), int(text)))
    for name in ("size", "edge", "seg", "obj_detection"):
      np.testing.assert_array_equal(one[name], train[name][image])
    known = train["obj_detection_classes"][image]
    np.testing.assert_array_equal(one["obj_detection_classes"][: len(known)], known)
    labels = train["caption/labels"][image, text]
    np.testing.assert_array_equal(one["caption/labels"][0], labels)
  assert seen == {(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)}  # every caption once
  for part, count in (("validation", 2), ("test", 1)):
    there, here = outside.parts[part], inside.parts[part]
    assert len(there) == count  # one text an image
    for i, one in enumerate(there.__getitems__(range(count))):
      for name in ("rgb", "seg", "caption/ids", "caption/weight"):
        np.testing.assert_array_equal(one[name], here[name][i])
  apart = plain.job.feed.chunk(call)["passes"][0]
  assert not {"edge", "seg", "obj_detection", "obj_detection_classes"} & set(apart)
  # The plan on it builds.
  problem, step = full.job.problem, full.job.update
  batch = jax.eval_shape(problem.prepare, jax.random.key(0), {n: x[0] for n, x in batches.items()})
  variables = jax.eval_shape(problem.init, jax.random.key(0), None)
  state = jax.eval_shape(
    lambda variables: full.job.start(step, jax.random.key(0), variables), variables
  )
  after, metrics = jax.eval_shape(step.update, state, batch)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert metrics["losses"].shape == (1,)
  with pytest.raises(ValueError, match="'prismer:noise=1': corrupt and noise are for images that"):
    jobs.plan(options(flickr, variants=("prismer:noise=1",)), outside)


def test_labels_that_do_not_fit_are_named(flickr, monkeypatch):
  np.save(flickr / "features/seg.npy", np.ones((4, 64)))
  message = r"labels/seg/Images/\d.png: .*class \d, but its table has 3 classes"
  with pytest.raises(ValueError, match=message):
    load(options(flickr))
  monkeypatch.setattr(material_module, "_IN_MEMORY", 0)
  outside = load(options(flickr))
  with pytest.raises(ValueError, match=message):
    outside.train[0]
  with pytest.raises(
    FileNotFoundError, match=r"no folder .*labels/depth/Images; .* leave depth out of --experts"
  ):
    load(options(flickr, experts=("seg", "depth")))


def numbered(config):
  """Variables that differ from each other."""
  flat = {
    path: np.full(leaf.shape, i, np.float32)
    for i, (path, leaf) in enumerate(shapes(config).items())
  }
  return traverse_util.unflatten_dict(flat)


def test_trainings_start_from_files_and_from_trainings(flickr, monkeypatch):
  plain = options(flickr, variants=("prismerz",))
  read = load(plain)
  ((_, planned),) = jobs.plan(plain, read).items()
  sizes = planned.what.model.config
  variables = numbered(sizes)
  file, home, words = (str(flickr / name) for name in ("z.safetensors", "run", "words"))
  save_file(prismer.to_published(variables), file)
  read.tokenizer.save(words)
  # A finished training of ours has its vocabulary beside its weights.
  training.save_weights(flickr / "run" / WEIGHTS, jax.tree.map(lambda x: x[None], variables))
  (flickr / "run/network.json").write_text(json.dumps(planned.job.problem.describe))
  read.tokenizer.save(flickr / "run" / VOCABULARY)
  twice = jax.tree.map(lambda x: np.zeros((2, *x.shape), np.float32), variables)
  for change in ({"checkpoint": file, "vocabulary": words}, {"checkpoint": home}):
    config = override(plain, **change)
    config.check()
    given = load(config)
    assert given.tokenizer.fingerprint() == read.tokenizer.fingerprint()
    ((_, one),) = jobs.plan(config, given).items()
    jax.tree.map(
      lambda got, wanted: np.testing.assert_array_equal(got, np.stack([wanted] * 2)),
      one.job.weights(twice),
      variables,
    )
  drawn = []

  def from_backbones(clip, roberta, config, key):
    drawn.append((clip.name, roberta.name))
    return variables

  with monkeypatch.context() as patch:
    patch.setattr(prismer, "from_backbones", from_backbones)
    network = override(plain, clip=file, roberta=file).network
    first_weights(network, sizes)(twice)
  assert drawn == 3 * [("z.safetensors", "z.safetensors")]  # looked at, and for each run
  # What does not fit is named before anything is compiled.
  wider = override(plain, checkpoint=home, width=16)
  with pytest.raises(
    ValueError, match=r"run is of another network: vision_width is 8 there and 16"
  ):
    jobs.plan(wider, load(wider))
  other = override(plain, checkpoint=file, vocabulary=words, variants=("prismer",))
  with pytest.raises(ValueError, match=r"experts is none there and edge, seg, obj_detection here"):
    jobs.plan(other, load(other))
  both = override(plain, clip=file, roberta=file, vocabulary=words)
  with pytest.raises(ValueError, match=r"clip .*z.safetensors does not fit"):
    jobs.plan(both, read)
  with pytest.raises(ValueError, match=r"vocabulary must name .* with which roberta"):
    override(both, vocabulary=None).check()
  with pytest.raises(ValueError, match=r"roberta must be a file, .*; .*run is a folder"):
    override(both, roberta=home).check()
  above = override(plain, checkpoint=str(flickr))
  with pytest.raises(FileNotFoundError, match=r"no finished training .*name .* trainings, run\."):
    load(above)
