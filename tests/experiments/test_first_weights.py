"""First weights from a file, another run or an initialiser: what starts from them, bad files."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from experiments.auto_lambda import jobs as auto_lambda
from experiments.auto_lambda.config import PRESETS as AUTO_LAMBDA
from experiments.auto_lambda.images import load as load_auto_lambda
from experiments.benchmark import jobs as benchmark
from experiments.benchmark.config import PRESETS
from experiments.benchmark.run import load, run
from experiments.binary_labels import jobs as binary_labels
from experiments.binary_labels import problem as binary_problem
from experiments.binary_labels.config import PRESETS as BINARY
from experiments.dgr.config import PRESETS as DGR
from experiments.dgr.jobs import Plan
from experiments.fastcar import jobs as fastcar
from experiments.fastcar.config import PRESETS as FASTCAR
from experiments.grid import jobs as grid
from experiments.grid.config import PRESETS as GRID
from experiments.maxl import data as maxl_data
from experiments.maxl import jobs as maxl
from experiments.maxl.comparison import compared
from experiments.maxl.config import PRESETS as MAXL
from experiments.problems.pretrained import first_weights
from experiments.runner.config import NetworkOptions, override
from experiments.runner.mesh import Layout
from experiments.runner.run import Runner
from experiments.runner.store import identity_of
from jaxmtl import models

SIZE = {"width": 2, "train_images": 40, "image_size": 10, "batch_size": 20, "epochs": 1}
SMALL = override(PRESETS["quick"], **SIZE, tasks=("left", "parity"), methods=("equal",), seeds=2)


@functools.cache
def backbone(seed, channels=1, width=2):
  """Variables of convnet4, random ones."""
  model = models.create("convnet4", width=width)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
  rng = np.random.default_rng(seed)
  # Variances must be positive.
  return jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(np.float32), shapes)


def write(path, seed):
  path.parent.mkdir(exist_ok=True, parents=True)
  save_file(as_torch(seed), path)
  return str(path)


@functools.cache
def as_torch(seed):
  return models.to_torch("convnet4", backbone(seed))


@pytest.fixture(scope="module")
def images():
  return load(SMALL)


@pytest.fixture
def file(tmp_path):
  return write(tmp_path / "net.safetensors", 1)


def same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def fresh(job):
  keys = jax.vmap(jax.random.key)(np.array(job.seeds))
  return jax.jit(jax.vmap(lambda key: job.problem.init(key, None)))(keys)


def any_of(job):
  """Other variables of the same shapes: what takes the place of a part does not look at them."""
  keys, rng = jax.vmap(jax.random.key)(np.array(job.seeds)), np.random.default_rng(0)
  shapes = jax.eval_shape(jax.vmap(lambda key: job.problem.init(key, None)), keys)
  return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def of_run(variables, name, run):
  """A copy of the backbone in one run."""
  found = {c: variables[c][name] for c in ("params", "batch_stats") if name in variables.get(c, {})}
  return jax.tree.map(lambda leaf: np.asarray(leaf)[run], found)


def test_all_runs_start_from_a_file_and_heads_are_new(file, images, tmp_path):
  slow = override(SMALL, pretrained=file, learning_rate=1e-12)
  jobs = benchmark.plan(slow, images)
  assert [job.name for job in jobs] == ["single_left", "single_parity", "equal"]
  for job in jobs:
    before = fresh(job) if job is jobs[-1] else any_of(job)
    started = job.weights(before)
    for seed in (0, 1):
      same(of_run(started, "backbone", seed), backbone(1))
    heads = [name for name in before["params"] if name.startswith("heads")]
    assert len(heads) == len(job.problem.tasks)
    for name in heads:
      same(started["params"][name], before["params"][name])
      assert not np.array_equal(*before["params"][name]["kernel"])
  # A training that hardly moves ends where it began, and another run begins where it ended.
  outcome = Runner(tmp_path / "runs").run(jobs[-1])
  trained = outcome.variables["params"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), trained, started["params"])
  for seeds, taken in ((2, (0, 1)), (3, (0, 0, 0))):
    other = override(SMALL, pretrained=str(outcome.folder), tasks=("right",), seeds=seeds)
    job = benchmark.plan(other, images)[0]
    begun = job.weights(any_of(job))
    assert set(begun["params"]) == {"backbone", "heads_right"}
    for seed, given in enumerate(taken):
      same(of_run(begun, "backbone", seed), of_run(outcome.variables, "backbone", given))
  # The file in the folder stands for the folder; what does not fit is named at once.
  inside = str(outcome.folder / "weights.safetensors")
  assert first_weights(NetworkOptions(width=2, pretrained=inside), images.shape)
  for network, message in (
    (NetworkOptions(width=4, pretrained=inside), r"of shape .*; give the same --width"),
    (NetworkOptions("resnet18", 1 / 16, inside), "another backbone.*--backbone"),
  ):
    with pytest.raises(ValueError, match=message):
      first_weights(network, images.shape)
  with pytest.raises(FileNotFoundError, match=r"name one of its trainings, equal, as in .*equal"):
    run(override(SMALL, pretrained=str(tmp_path / "runs")), tmp_path / "none")


def test_identity_is_the_files_content_and_not_its_place(file, images, tmp_path):
  def identities(path):
    config = override(SMALL, pretrained=path)
    return [identity_of(job) for job in benchmark.plan(config, images)]

  before = identities(file)
  moved = tmp_path / "elsewhere" / "net.safetensors"
  moved.parent.mkdir()
  shutil.move(file, moved)
  assert identities(str(moved)) == before
  write(moved, 2)
  assert all(a != b for a, b in zip(identities(str(moved)), before, strict=True))
  assert all("pretrained" not in identity for identity in identities(None))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"backbone": "resnet18", "width": 1 / 16},
      "pretrained: .* has no tensor of resnet18: it holds",
    ),
    (
      {"backbone": "resnet32", "width": 1 / 8},
      "pretrained: .* has no tensor of resnet32: it holds",
    ),
    ({"width": 4}, "pretrained: .*of another shape"),
    ({"pretrained": "nowhere.pth"}, "pretrained: there is no nowhere.pth"),
    ({"pretrained": "experiments"}, "experiments is no finished training of ours"),
  ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_written(file, options, message, tmp_path):
  with pytest.raises((ValueError, OSError), match=message) as error:
    run(override(SMALL, **{"pretrained": file, **options}), tmp_path / "runs")
  assert "\n" not in str(error.value)
  assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_copy_of_the_backbone_starts_from_the_file(architecture, file, images):
  job = benchmark.plan(override(SMALL, pretrained=file, architecture=architecture), images)[-1]
  assert len(check(job)) == {"hps": 1, "mtan": 1, "mmoe": 3, "dselect_k": 4, "cgc": 3}.get(
    architecture, 3 if architecture == "ple" else 2
  )


def check(job, channels=1):
  """That a job's networks have the file's weights; the names of the copies in the first one."""
  keys = jax.vmap(jax.random.key)(np.array(job.seeds))
  init = jax.vmap(job.problem.init, (0, None if job.settings is None else 0))
  shapes = jax.eval_shape(init, keys, job.settings)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  started = job.weights(zeros)
  assert jax.tree.map(np.shape, started) == jax.tree.map(np.shape, zeros)
  found = []
  for variables in (started, *([started["label"]] if "label" in started else [])):
    found.append([])
    for name, tree in variables["params"].items():
      if np.any([np.any(leaf) for leaf in jax.tree.leaves(tree)]):
        for seed in range(len(job.seeds)):
          same(of_run(variables, name, seed), backbone(1, channels))
        found[-1].append(name)
  assert all(found), "a network without the weights"
  return found[0]


def test_a_network_without_a_backbone_says_so(file, images):
  load_file = first_weights(NetworkOptions(width=2, pretrained=file), images.shape)
  with pytest.raises(ValueError, match=r"needs a network with a backbone, got parameters heads_a"):
    load_file({"params": {"heads_a": {}}})
  assert first_weights(NetworkOptions(width=2), images.shape) is None
  with pytest.raises(ValueError, match=r"vit_b16 does not take images of 20x40 \(.*patch_size=16"):
    first_weights(NetworkOptions("vit_b16", width=0.1), (20, 40, 3))


def of_auto_lambda(**options):
  config = override(AUTO_LAMBDA["quick"], **SIZE, tasks=("left", "sum"), **options)
  source = load_auto_lambda(config.data, config.own_data, 0)
  return list(auto_lambda.plan(config, source).values())


def of_dgr(**options):
  config = override(DGR["quick"], **SIZE, tasks=("left", "parity"), **options)
  plan = Plan(config, config.data.load(0).images, config.check())
  return [*plan.before(), *plan.with_dgr(dict.fromkeys(config.methods, 0.1))]


def of_binary_labels(**options):
  small = {"width": 2, "dim": 24, "decoder_side": 8, "decoder_width": 4}
  config = override(BINARY["quick"], **small, **options)
  found, variants = binary_problem.load(config), config.check()
  codes = {v.kind: binary_problem.draw_codes(config, v.kind, 10) for v in variants}
  rows = binary_problem.labelled(config, found)
  return binary_labels.plan(config, variants, found, rows, codes)


def of_maxl(**options):
  config = override(
    MAXL["quick"], width=2, head_width=4, fraction=0.1, methods=("single", "maxl"), seeds=1
  )
  config = override(config, **options)
  found = maxl_data.load(config)
  return maxl.plan(config, found, compared(config, found), None)


def of_fastcar(**options):
  config = override(FASTCAR["quick"], width=2, **options)
  parts = config.images.load()
  make = fastcar.maker(config, parts, Layout())
  return list(fastcar.pair_jobs(config, parts, make).values())


def of_grid(**options):
  config = override(GRID["quick"], width=2, decoders=(1,), methods=("EW",), **options)
  return list(grid.plan(config, config.images.load(), Layout()).values())


OTHERS = {
  "auto_lambda": of_auto_lambda,
  "binary_labels": of_binary_labels,
  "dgr": of_dgr,
  "fastcar": of_fastcar,
  "grid": of_grid,
  "maxl": of_maxl,
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_experiment_that_builds_a_backbone_takes_them(name, file):
  jobs = OTHERS[name](pretrained=file)
  assert jobs
  for job in jobs:
    assert "net.safetensors" in job.identity["pretrained"]
    check(job)
  assert all(job.weights is None for job in OTHERS[name]())


@pytest.mark.parametrize("name", OTHERS)
def test_every_experiment_draws_first_weights_as_told(name, monkeypatch):
  """All kernels of backbones and heads; not those of gates, nor of the decoder of codes."""
  drawn = []

  def note(key, shape, dtype, out_sharding=None):
    drawn.append(shape)
    return jnp.zeros(shape, dtype)

  monkeypatch.setitem(models.INITIALIZERS, "torch", note)
  decoder = f"heads_{binary_problem.AUX}" if name == "binary_labels" else "gates_"
  jobs = OTHERS[name](initializer="torch")
  assert all(job.identity["initializer"] == "torch" for job in jobs)
  for job in {job.problem.init: job for job in jobs}.values():
    setting = jax.tree.map(lambda values: values[0], job.settings)
    drawn.clear()
    shapes = jax.eval_shape(job.problem.init, jax.random.key(0), setting)
    kernels = {
      leaf.shape[leaf.ndim == 3 :]  # heads that are stacked are drawn one by one
      for path, leaf in flatten_dict(shapes).items()
      if path[-1] == "kernel" and not any(part.startswith(("gates_", decoder)) for part in path)
    }
    assert set(drawn) == kernels, job.name
  assert all("initializer" not in job.identity for job in OTHERS[name]())
