"""MAXL's own: two phases an epoch, hierarchies together, padding, the complexity study."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.maxl import complexity, data, figures
from experiments.maxl.comparison import NAMES, compared
from experiments.maxl.config import PRESETS
from experiments.maxl.jobs import plan
from experiments.maxl.labels import parse_psi
from experiments.maxl.network import AUXILIARY, Auxiliary, Networks, filter_cosine
from experiments.maxl.paper import thesis_accuracy, thesis_labels
from experiments.maxl.run import main, run
from experiments.problems.images import ImageTasks
from experiments.runner.config import override
from jaxmtl import plots, training

SMALL = override(
  PRESETS["quick"],
  methods=("single", "random", "kmeans", "human"),
  psi=("total:10",),
  fraction=0.1,
  width=2,
  head_width=4,
  latent=3,
  auto_encoder_epochs=1,
  epochs=2,
  batch_size=54,
  tsne_images=40,
  seeds=1,
  checkpoint_every="1",
)
# Two primary tasks, each with auxiliary classes of its own, and two hierarchies in one call. Two
# steps a phase, four an epoch.
GENERATED = override(SMALL, methods=("maxl",), primary=(2, 10), psi=("1", "4"))


@pytest.fixture(scope="module")
def drawn(one_layer):
  """Figures by folder and file, as they are drawn."""
  found = {}

  def keep(draw):
    def kept(*args, **options):
      figures = draw(*args, **options)
      folder = next(arg for arg in args if isinstance(arg, pathlib.Path))
      found.update({(folder, file): figure for file, figure in figures.items()})
      return figures

    return kept

  with pytest.MonkeyPatch.context() as patch:
    for module in (figures, complexity):
      patch.setattr(module, "draw", keep(module.draw))
    yield found


@pytest.fixture(scope="module")
def given(tmp_path_factory, drawn):
  folder = tmp_path_factory.mktemp("given")
  return folder, run(SMALL, folder)


@pytest.fixture(scope="module")
def generated(tmp_path_factory, drawn):
  folder = tmp_path_factory.mktemp("generated")
  return folder, run(GENERATED, folder)


def rows_of(folder, job):
  return [json.loads(line) for line in (folder / job / "metrics.jsonl").read_text().splitlines()]


def untimed(rows):
  return [{**row, "seconds": 0} for row in rows]


def test_it_writes_what_it_promises_and_trains_nothing_again(given, promised):
  files = ("curves.png", "cosine.png", "tsne.png")
  promised(run, SMALL, *given, files, ("single task", "Random", "K-Means", "Human"))


def test_methods_differ_by_their_labels_alone(given):
  folder, summary = given
  for row in summary["results"]:
    assert (row["setting"], row["paper"]) == ("10 auxiliary", None)
    assert np.shape(row["values"]["accuracy"]["level_2"]) == (1,)
    if row["name"] == "single task":
      assert "cosine" not in row["values"]
      assert row["delta_mtl"] == [0]
    else:
      for name in ("cosine", "filter_cosine"):
        assert np.all(np.abs(row["values"][name]["all"]) <= 1)
      assert row["values"]["labels_in_use"]["all"] == [100]
  assert "| Human | [2] |" in (folder / "results.md").read_text()
  # All start at the same parameters and see the same order: the primary loss is nearly the same,
  # the auxiliary one is another.
  losses = {m: np.array(rows_of(folder, m)[0]["losses"][0]) for m in ("single", "random", "human")}
  assert losses["single"].shape == (1,)
  np.testing.assert_allclose(losses["random"][0], losses["single"][0], rtol=0.1)
  assert losses["random"][1] != losses["human"][1] > 0


def test_an_option_changes_only_what_depends_on_it(one_layer):
  images = data.load(SMALL)

  def identities(**changes):
    config = override(SMALL, methods=("single", "random", "kmeans", "human", "maxl"), **changes)
    jobs = plan(config, images, compared(config, images), None)
    return {job.name: job.identity for job in jobs}

  before = identities()

  def changed(**changes):
    return {name for name, new in identities(**changes).items() if new != before[name]}

  assert changed(epochs=7) == set()  # goes on
  assert changed(entropy_weight=0.7) == {"maxl"}
  assert changed(latent=5) == {"auto_encoder", "kmeans"}
  assert changed(auto_encoder_epochs=5) == {"kmeans"}
  assert changed(psi=("5",)) == set(before) - {"single", "auto_encoder"}
  assert changed(combine="pcgrad") == {"random", "kmeans", "human"}
  assert changed(learning_rate=1.0) == set(before) - {"auto_encoder"}


def test_labels_of_several_primary_tasks_and_hierarchies_are_learned_together(generated):
  folder, summary = generated
  assert [(r["name"], r["setting"]) for r in summary["results"]] == [
    ("MAXL", "psi 1"),
    ("MAXL", "psi 4"),
  ]
  assert set(summary["results"][0]["values"]["accuracy"]) == {"level_2", "level_10"}
  row = rows_of(folder, "maxl")[0]
  assert np.shape(row["losses"]) == (2, 4)  # hierarchies; two primary and two auxiliary tasks
  assert np.all(np.array(row["losses"]) > 0)
  # One auxiliary class within each of two and ten primary ones: the label is the primary class.
  assert row["losses"][0][2] < row["losses"][0][3]
  assert row["entropy"][1] < row["entropy"][0] < 0  # more labels are in use
  assert 0 < row["labels_in_use"][1] <= row["labels_in_use"][0] == 100
  assert "| MAXL | [10] | [40] |" in (folder / "results.md").read_text()


def test_figures_show_classes_by_name_and_say_what_they_leave_out(generated, drawn):
  folder, _ = generated
  embeddings = drawn[folder, "tsne.png"]
  (legend,) = embeddings.legends
  assert [text.get_text() for text in legend.get_texts()] == ["even", "odd"]
  assert "the first of 359 test images" in embeddings.get_suptitle().replace("\n", " ")
  assert {file for home, file in drawn if home == folder} == {
    path.name for path in folder.glob("*.png")
  }
  groups = drawn[folder, "images.png"]
  assert [axes.get_ylabel() for axes in groups.axes if axes.get_ylabel()] == ["even", "odd"]
  assert groups.get_supxlabel() == ""  # all are shown
  for name in ("curves.png", "cosine.png", "filter_cosine.png", "labels_in_use.png"):
    panels = drawn[folder, name].axes
    assert [axes.get_title() for axes in panels] == ["psi 1", "psi 4"]
    for axes in panels:
      line, *zero = axes.get_lines()
      assert len(zero) == name.endswith("cosine.png")
      assert line.get_color() == plots.palette(NAMES.values())["MAXL"]
      assert line.get_xdata().tolist() == [1, 2]
      assert np.isfinite(line.get_ydata()).all()


def test_a_method_keeps_its_colour_and_its_epochs(given, drawn):
  folder, _ = given
  assert (folder, "labels_in_use.png") not in drawn  # nothing was generated
  colors = plots.palette(NAMES.values())
  for name, methods in (
    ("curves.png", ["single task", "Random", "K-Means", "Human"]),
    ("cosine.png", ["Random", "K-Means", "Human"]),
  ):
    (axes,) = drawn[folder, name].axes
    shown = [text.get_text() for text in drawn[folder, name].legends[0].get_texts()]
    assert shown == [*methods, *(["0"] if name == "cosine.png" else [])]
    lines = {line.get_label(): line.get_color() for line in axes.get_lines()}
    assert {method: lines[method] for method in methods} == {m: colors[m] for m in methods}


def accuracies(summary):
  return [row["values"]["accuracy"] for row in summary["results"]]


def test_it_goes_on_to_the_bit_after_a_kill_between_the_phases(generated, tmp_path, capsys):
  save = training.Checkpointer.save

  class Killed(Exception):
    pass

  def save_and_die(self, step, state):
    save(self, step, state)
    if step == 6:
      self.wait()
      raise Killed

  config = override(GENERATED, checkpoint_every="3 steps")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training.Checkpointer, "save", save_and_die)
    with pytest.raises(Killed):
      run(config, tmp_path)
  with pytest.MonkeyPatch.context() as patch:
    # Figures of the same numbers are looked at above.
    patch.setattr(figures, "draw", lambda *_, **__: {})
    again = run(config, tmp_path)
  assert "maxl: goes on after epoch 1.5 of 2" in capsys.readouterr().out
  folder, summary = generated
  found, whole = untimed(rows_of(tmp_path, "maxl")), untimed(rows_of(folder, "maxl"))
  assert [row["step"] for row in found] == [4, 6, 8]
  assert found[0] == whole[0]
  assert found[1]["losses"] == whole[1]["losses"]
  measured = ("cosine", "labels_in_use", "validation", "entropy", "meta_loss")
  assert {n: found[2][n] for n in measured} == {n: whole[1][n] for n in measured}
  assert accuracies(again) == accuracies(summary)


def test_a_phase_logs_its_own_steps(generated, tmp_path, drawn):
  """Rows within an epoch: the label network's have no losses, and add up to the same.

  Calls of one step are compiled without a loop, and differ in the last bits.
  """
  folder, _ = generated
  run(override(GENERATED, log_every="1 steps", evaluate_every="1"), tmp_path)
  found, (whole, end) = rows_of(tmp_path, "maxl"), rows_of(folder, "maxl")
  assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6, 7, 8]
  assert [row["epoch"] for row in found] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
  assert ["losses" in row for row in found] == [True, True, False, False] * 2
  assert ["meta_loss" in row for row in found] == [False, False, True, True] * 2
  assert ["cosine" in row for row in found] == [False, False, False, True] * 2
  assert whole["step"] == 4
  np.testing.assert_allclose(
    np.mean([row["losses"] for row in found[:2]], 0), whole["losses"], rtol=1e-5
  )
  entropy = np.mean([row["entropy"] for row in found[2:4]], 0)
  np.testing.assert_allclose(entropy, whole["entropy"], rtol=1e-5)
  assert found[3]["cosine"] == pytest.approx(whole["cosine"], rel=1e-3)
  assert found[3]["labels_in_use"] == whole["labels_in_use"]
  for name in ("entropy", "meta_loss"):
    mean = np.mean([row[name] for row in found[6:]], 0)
    np.testing.assert_allclose(mean, end[name], rtol=1e-4)
  np.testing.assert_allclose(found[-1]["labels_in_use"], end["labels_in_use"], rtol=1e-4)
  np.testing.assert_allclose(found[-1]["cosine"], end["cosine"], atol=1e-3)
  # Figures show rows where they were measured: these once an epoch all the same.
  for axes in drawn[tmp_path, "cosine.png"].axes:
    line, _ = axes.get_lines()
    assert line.get_xdata().tolist() == [1, 2]


def test_complexity_study_trains_all_combinations_of_a_level_together(tmp_path, drawn):
  config = override(SMALL, methods=(), psi=(), combinations=("2", "2:10"), epochs=1)
  summary = run(config, tmp_path)
  assert [(r["name"], r["setting"]) for r in summary["results"]] == [
    ("2", "primary 2"),
    ("2:10", "primary 2"),
  ]
  assert [np.shape(r["values"]["accuracy"]["level_2"]) for r in summary["results"]] == [(1,)] * 2
  alone, helped = rows_of(tmp_path, "primary_2")[0]["losses"]
  assert alone[1] == 0 < helped[1]
  (axes,) = drawn[tmp_path, "cosine.png"].axes
  assert axes.get_title() == "primary 2"
  line, zero = axes.get_lines()
  assert set(zero.get_ydata()) == {0}
  assert (line.get_label(), line.get_xdata().tolist()) == ("auxiliary 10", [1])
  assert "| [2] | none |" in (tmp_path / "results.md").read_text()
  assert "auxiliary 10" in summary["conclusions"][0]


def test_padding_changes_nothing(one_layer):
  """Only a run's own classes take part, in generated labels, losses and gradients."""
  psi, rng = jnp.array([2, 1]), np.random.default_rng(0)
  images = jnp.asarray(rng.normal(size=(6, 2, 2, 1)), jnp.float32)
  batch = {"image": images, "level_2": jnp.array([0, 1, 0, 1, 1, 0])}
  blank = ImageTasks({"train": {"image": np.zeros((1, 2, 2, 1), np.uint8)}}, {}, (0.0, 1.0))

  def once(width, variables, labeller):
    auxiliary = {"aux": Auxiliary("level_2", width)}
    networks = Networks(SMALL, {"level_2": 2}, auxiliary, blank, 1)
    if variables is None:
      made = (networks.model, networks.labeller)
      variables, labeller = (jax.jit(m.init)(jax.random.key(i), images) for i, m in enumerate(made))

    @jax.jit
    def gradients(params, label_params):
      def total(params, label_params):
        state = {"psi": {"aux": psi}, "batch_stats": labeller["batch_stats"]}
        soft, _ = networks.generate_fn(label_params, state, batch, None)
        state = {
          "sizes": {"aux": psi.sum()},
          "used": {"aux": jnp.zeros(width, bool)},
          "batch_stats": variables["batch_stats"],
        }
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
  recipe, labels = paper.multi_task, paper.labels
  assert (paper.training.learning_rate, recipe.momentum, recipe.weight_decay) == (0.01, 0.0, 0.0)
  assert (labels.label_learning_rate, labels.label_weight_decay) == (1e-3, 5e-4)
  assert (paper.training.epochs, recipe.halve_every, paper.training.batch_size) == (200, 50, 100)
  assert (paper.run.seeds, paper.network.backbone, paper.network.width) == (3, "vgg16", None)
  assert (recipe.gamma, labels.entropy_weight) == (2.0, 0.2)
  assert thesis_accuracy("cifar100", 20, 100, "maxl") == 74.28
  assert thesis_accuracy("mnist", 10, 30, "maxl") == 99.71
  assert thesis_accuracy("mnist", 2, 10, "maxl") is None
  assert thesis_labels("cifar100", 10, 20, "maxl") == (100, 78.4)
  assert thesis_labels("mnist", 10, 20, "maxl") == (None, None)  # the table is of CIFAR-100
  assert len(PRESETS["complexity"].combinations) == 15


def test_a_preset_without_its_data_names_the_folder(tmp_path):
  with pytest.raises(SystemExit) as stop:
    main(["--preset", "paper", "--data-dir", str(tmp_path)])
  assert str(tmp_path) in str(stop.value)


def test_cosines_of_filters_are_each_one_s_own():
  rng = np.random.default_rng(0)
  kernels = rng.normal(size=(2, 3, 3, 4, 5)).astype(np.float32)
  kernels[1, ..., 0] = -2 * kernels[0, ..., 0]  # opposite in one filter
  kernels[1, ..., 1] = 0  # and none in another
  found = filter_cosine({"conv": kernels, "bias": np.ones((2, 5), np.float32)})
  first, second = kernels.reshape(2, -1, 5)
  with np.errstate(invalid="ignore"):
    each = (first * second).sum(0) / np.linalg.norm(first, axis=0) / np.linalg.norm(second, axis=0)
  np.testing.assert_allclose(each[0], -1, rtol=1e-5)
  np.testing.assert_allclose(found, np.nan_to_num(each).mean(), rtol=1e-5)
