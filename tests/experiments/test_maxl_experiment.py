import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import maxl, maxl_figures
from experiments.maxl import PRESETS, run
from experiments.maxl_labels import parse_psi
from experiments.maxl_network import AUXILIARY, Auxiliary, Networks
from experiments.maxl_paper import thesis_accuracy

SMALL = dataclasses.replace(
  PRESETS["quick"],
  methods=("single", "random", "kmeans", "human"),
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
# Two primary tasks, each with auxiliary classes of its own, and two hierarchies in one call.
GENERATED = dataclasses.replace(SMALL, methods=("maxl",), primary=(2, 10), psi=("1", "3"), seeds=1)


@pytest.fixture(scope="module")
def few_points(one_layer):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(maxl_figures, "_POINTS", 40)
    yield


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, few_points):
  folder = tmp_path_factory.mktemp("fixed")
  return folder, run(SMALL, folder)


@pytest.fixture(scope="module")
def generated(tmp_path_factory, few_points):
  folder = tmp_path_factory.mktemp("generated")
  return folder, run(GENERATED, folder)


def row_of(folder, method, epoch=1):
  return json.loads((folder / method / "metrics.jsonl").read_text().splitlines()[epoch - 1])


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


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  for name in ("config.json", "results.json", "results.md", "curves.png", "cosine.png", "tsne.png"):
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
      assert row["labels_in_use"] == [100, 100]
  assert "| K-Means | [2] |" in (folder / "results.md").read_text()
  # Methods start at the same parameters and see the same order, so labels make the difference.
  losses = {m: row_of(folder, m)["losses"][0] for m in ("single", "random", "human")}
  assert losses["single"][1] == 0
  assert losses["random"][1] != losses["human"][1] > 0


def test_labels_of_several_primary_tasks_and_hierarchies_are_learned_together(generated):
  folder, outcome = generated
  found = [(r["setting"], r["primary"], r["auxiliary"]) for r in outcome["results"]]
  assert found == [("psi 1", 2, 2), ("psi 1", 10, 10), ("psi 3", 2, 6), ("psi 3", 10, 30)]
  row = row_of(folder, "maxl")
  assert np.shape(row["losses"]) == (2, 4)  # hierarchies; two primary and two auxiliary tasks
  assert np.all(np.array(row["losses"]) > 0)
  assert row["entropy"][1] < row["entropy"][0] < 0  # three times as many labels are in use
  assert 0 < row["labels_in_use"][1] <= row["labels_in_use"][0] == 1
  for name in ("labels_in_use.png", "images.png"):
    assert (folder / name).stat().st_size
  assert "| MAXL | [10] | [30] |" in (folder / "results.md").read_text()


def test_after_a_kill_it_goes_on_to_the_bit(generated, tmp_path, capsys):
  folder, outcome = generated
  shutil.copytree(folder, tmp_path / "killed")
  shutil.rmtree(tmp_path / "killed" / "maxl" / "checkpoints" / "2")
  again = run(GENERATED, tmp_path / "killed")
  assert "maxl: goes on after epoch 1 of 2" in capsys.readouterr().out
  first, second = (row_of(f, "maxl", 2) for f in (folder, tmp_path / "killed"))
  assert {**first, "seconds": 0} == {**second, "seconds": 0}
  accuracy = [[r["test_accuracy"] for r in o["results"]] for o in (again, outcome)]
  assert accuracy[0] == accuracy[1]


def test_complexity_study_trains_all_combinations_of_a_level_together(tmp_path, few_points):
  config = dataclasses.replace(
    SMALL, methods=(), psi=(), combinations=("2", "2:10"), epochs=1, seeds=1
  )
  rows = run(config, tmp_path)["results"]
  assert [(r["primary"], r["auxiliary"]) for r in rows] == [(2, []), (2, [10])]
  alone, helped = row_of(tmp_path, "primary_2")["losses"]
  assert alone[1] == 0 < helped[1]
  assert (tmp_path / "cosine.png").stat().st_size
  assert "| [2] | none |" in (tmp_path / "results.md").read_text()


def test_padding_changes_nothing(few_points):
  """Only a run's own classes take part, in generated labels, losses and gradients."""
  psi, rng = jnp.array([2, 1]), np.random.default_rng(0)
  images = jnp.asarray(rng.normal(size=(6, 2, 2, 1)), jnp.float32)
  batch = {"image": images, "level_2": jnp.array([0, 1, 0, 1, 1, 0])}

  def once(width, variables, labeller):
    auxiliary = {"aux": Auxiliary("level_2", width)}
    networks = Networks(SMALL, {"level_2": 2}, auxiliary, (0.0, 1.0), 1)
    if variables is None:
      made = (networks.model, networks.labeller)
      variables, labeller = (jax.jit(m.init)(jax.random.key(i), images) for i, m in enumerate(made))

    @jax.jit
    def gradients(params, label_params):
      def total(params, label_params):
        state = {"psi": {"aux": psi}, "batch_stats": labeller["batch_stats"]}
        soft, _ = networks.generate_fn(label_params, state, batch, None)
        state = {"sizes": {"aux": psi.sum()}, "batch_stats": variables["batch_stats"]}
        return networks.losses_fn(params, state, {**batch, AUXILIARY: soft}, None)[0].sum()

      return jax.value_and_grad(total, (0, 1))(params, label_params)

    return (variables, labeller), gradients(variables["params"], labeller["params"])

  cut = lambda tree: jax.tree.map(lambda x: x[..., :3] if x.shape[-1:] == (5,) else x, tree)  # noqa: E731
  wide, got = once(5, None, None)
  _, want = once(3, *cut(wide))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), cut(got), want)
  assert float(optax.tree.norm(want[1][1])) > 0


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
