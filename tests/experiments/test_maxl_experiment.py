import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import maxl
from experiments.maxl import PRESETS, run
from experiments.maxl_labels import parse_psi
from experiments.maxl_network import AUXILIARY, Auxiliary, Networks
from experiments.maxl_paper import thesis_accuracy
from jaxmtl import meta, training

SMALL = dataclasses.replace(
  PRESETS["quick"],
  methods=("single", "random", "kmeans", "human", "maxl"),
  psi=("total:10",),
  fraction=0.1,
  width=2,
  head_width=4,
  epochs=2,
  batch_size=54,
  latent=3,
  auto_encoder_epochs=1,
  seeds=2,
  checkpoint_every=1,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  figures = ("curves.png", "cosine.png", "labels_in_use.png", "tsne.png", "images.png")
  for name in ("config.json", "results.json", "results.md", *figures):
    assert (folder / name).stat().st_size
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  assert [row["method"] for row in outcome["results"]] == list(SMALL.methods)
  for row in outcome["results"]:
    assert np.shape(row["test_accuracy"]) == (2,)
    assert (row["primary"], row["auxiliary"], row["thesis"]) == (2, 10, None)
    if row["method"] == "single":
      assert "cosine" not in row
    else:
      assert np.all(np.abs(row["cosine"]) <= 1)
      assert np.all(np.array(row["labels_in_use"]) > 0)
  text = (folder / "results.md").read_text()
  assert "| K-Means | [2] |" in text
  assert "| MAXL | [2] | [10] |" in text
  by_epoch = [
    json.loads(line) for line in (folder / "maxl" / "metrics.jsonl").read_text().splitlines()
  ]
  assert [row["epoch"] for row in by_epoch] == [1, 2]
  assert np.shape(by_epoch[0]["losses"]) == (2, 2)  # seeds, tasks
  assert np.all(np.array(by_epoch[0]["entropy"]) < -np.log(2))  # of labels far from one class
  # Methods start at the same parameters and see the same order, so labels make the difference.
  losses = {m: row_of(folder, m)["losses"][0] for m in ("single", "random", "human")}
  assert losses["single"][1] == 0
  assert losses["random"][1] != losses["human"][1] > 0


def row_of(folder, method, epoch=1):
  return json.loads((folder / method / "metrics.jsonl").read_text().splitlines()[epoch - 1])


def test_after_a_kill_it_goes_on_to_the_bit(workdir, tmp_path, capsys):
  folder, outcome = workdir
  shutil.copytree(folder, tmp_path / "killed")
  shutil.rmtree(tmp_path / "killed" / "maxl" / "checkpoints" / "2")
  again = run(dataclasses.replace(SMALL, methods=("maxl",)), tmp_path / "killed")
  assert "maxl: goes on after epoch 1 of 2" in capsys.readouterr().out
  first, second = row_of(folder, "maxl", 2), row_of(tmp_path / "killed", "maxl", 2)
  assert {k: v for k, v in first.items() if k != "seconds"} == {
    k: v for k, v in second.items() if k != "seconds"
  }
  assert again["results"][0]["test_accuracy"] == outcome["results"][-1]["test_accuracy"]


def test_several_primary_tasks_and_hierarchies_in_one_call(tmp_path):
  config = dataclasses.replace(
    SMALL, methods=("maxl",), primary=(2, 10), psi=("1", "3"), epochs=1, seeds=1
  )
  rows = run(config, tmp_path)["results"]
  found = [(r["setting"], r["primary"], r["auxiliary"]) for r in rows]
  assert found == [("psi 1", 2, 2), ("psi 1", 10, 10), ("psi 3", 2, 6), ("psi 3", 10, 30)]
  losses = np.array(row_of(tmp_path, "maxl")["losses"])
  assert losses.shape == (2, 4)  # hierarchies; two primary and two auxiliary tasks
  assert np.all(losses > 0)


def test_complexity_study_trains_all_combinations_of_a_level_together(tmp_path):
  config = dataclasses.replace(
    SMALL, methods=(), psi=(), combinations=("2", "2:10"), epochs=1, seeds=1
  )
  rows = run(config, tmp_path)["results"]
  assert [(r["primary"], r["auxiliary"]) for r in rows] == [(2, []), (2, [10])]
  alone, helped = row_of(tmp_path, "primary_2")["losses"]
  assert alone[1] == 0 < helped[1]
  assert (tmp_path / "cosine.png").stat().st_size
  assert "| [2] | none |" in (tmp_path / "results.md").read_text()


def test_padding_changes_nothing():
  """A run's own classes and no others take part, in losses and in the meta-gradient."""
  psi, rng = jnp.array([2, 1]), np.random.default_rng(0)
  images = jnp.asarray(rng.normal(size=(6, 2, 2, 1)), jnp.float32)
  batch = {"image": images, "level_2": jnp.array([0, 1, 0, 1, 1, 0])}

  def build(width):
    auxiliary = {"aux": Auxiliary("level_2", width)}
    networks = Networks(SMALL, {"level_2": 2}, auxiliary, (0.0, 1.0), 1)
    step = training.train_step(networks.losses_fn, networks.optimizer(), 2)
    network = meta.maxl(
      networks.losses_fn,
      networks.generate_fn,
      networks.optimizer(),
      networks.label_optimizer(),
      name=AUXILIARY,
    )
    return networks, step, network

  @jax.jit
  def once(variables, labeller):
    states = (
      {
        "sizes": {"aux": psi.sum()},
        "batch_stats": variables["batch_stats"],
      },
      {"psi": {"aux": psi}, "batch_stats": labeller["batch_stats"]},
    )
    key = jax.random.key(0)
    state = step.init(variables["params"], key, states[0])
    label = network.init(labeller["params"], key, states[1])
    moved, metrics = step.update(state, network.add_labels(label, batch))
    taught, _ = network.update(label, state, batch)
    return moved.params, taught.params, metrics["losses"]

  networks, step, network = build(5)
  wide = [
    jax.jit(model.init)(jax.random.key(i), images)
    for i, model in enumerate((networks.model, networks.labeller))
  ]
  got = once(*wide)
  _, step, network = build(3)
  once = jax.jit(once.__wrapped__)
  cut = lambda tree: jax.tree.map(lambda x: x[..., :3] if x.shape[-1] == 5 else x, tree)  # noqa: E731
  want = once(*map(cut, wide))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), cut(got), want)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"dataset": "digit"}, "digits"),
    ({"dataset": "ucf101", "data_dir": "/nowhere"}, "/nowhere.*classInd"),
    ({"primary": (3,)}, "primary must be different levels of 'digits', which has 2, 10 classes"),
    ({"psi": ("5,5,5",)}, r"one number for each of the 2 primary classes .* got 3 in '5,5,5'"),
    ({"psi": ("0",)}, "psi takes values like 5, total:100 or 3,3,4"),
    ({"psi": ("total:1",)}, "at least the number of primary classes, 2, got 1"),
    ({"psi": ("5", "5")}, "psi must be different hierarchies"),
    ({"psi": ("3",)}, r"method human needs .* 'digits' has \[10\], psi \[\[6\]\]"),
    ({"combinations": ("2",)}, "combinations take the place of methods"),
    ({"methods": (), "psi": (), "combinations": ("2:7",)}, "different levels .* got '2:7'"),
    ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ({"entropy_weight": -1}, "entropy_weight must not be negative, got -1"),
    ({"backbone": "vgg16", "width": 0.1}, "max_pool needs maps of at least 2x2"),
  ],
)
def test_bad_options_raise_before_anything_is_written(change, message, tmp_path):
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    run(dataclasses.replace(SMALL, **change), tmp_path / "new")
  assert not (tmp_path / "new").exists()


def test_uneven_totals_are_drawn_anew_for_each_seed():
  setting = parse_psi("total:10", {"level_3": 3}, list(range(8)))
  assert setting.totals == {"level_3": 10}
  assert len({tuple(row) for row in setting.psi["level_3"].tolist()}) == 3


def test_the_paper_preset_is_the_thesis_recipe():
  paper = PRESETS["paper"]
  assert (paper.learning_rate, paper.momentum, paper.weight_decay) == (0.01, 0.0, 0.0)
  assert (paper.label_learning_rate, paper.label_weight_decay) == (1e-3, 5e-4)
  assert (paper.epochs, paper.halve_every, paper.batch_size, paper.seeds) == (200, 50, 100, 3)
  assert (paper.gamma, paper.entropy_weight, paper.network) == (2.0, 0.2, "vgg16")
  assert thesis_accuracy("cifar100", 20, 100, "maxl") == 74.28
  assert thesis_accuracy("mnist", 10, 30, "maxl") == 99.71
  assert thesis_accuracy("mnist", 2, 10, "maxl") is None
  assert len(PRESETS["complexity"].combinations) == 15


def test_the_command_line(tmp_path, capsys):
  with pytest.raises(SystemExit) as stop:
    maxl.main(["--preset", "paper", "--data-dir", str(tmp_path)])
  assert str(tmp_path) in str(stop.value)
  with pytest.raises(SystemExit):
    maxl.main(["--help"])
  assert "--entropy-weight" in capsys.readouterr().out
