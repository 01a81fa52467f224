"""Binary Labels' own: codes, the dropped head, what runs depend on, published figures, presets."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from experiments.binary_labels import figures, paper, report
from experiments.binary_labels.config import PRESETS, Variant
from experiments.binary_labels.jobs import plan
from experiments.binary_labels.problem import AUX, CODES, MAIN, draw_codes, labelled, load
from experiments.binary_labels.run import run
from experiments.runner.config import override
from experiments.runner.methods import Method
from experiments.runner.store import identity_of
from jaxmtl import data, labels, models, plots, training

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = override(
  PRESETS["quick"],
  **{"label_kinds": ("none", "binary"), "task_weights": ("0.5,0.5",), "aggregator": "metabalance"},
  **{"dim": 24, "decoder_side": 8, "decoder_width": 4, "fraction": 0.1, "width": 2},
  **{"epochs": 2, "batch_size": 40, "seeds": 2, "seed": 3, "evaluate_every": "1"},
)
ALONE, BINARY = "class alone", "class + binary code, 0.5 : 0.5"


def jobs(config):
  images = load(config)
  variants = config.check()
  codes = {v.kind: draw_codes(config, v.kind, 10) for v in variants}
  return plan(config, variants, images, labelled(config, images), codes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises_and_trains_nothing_again(finished, promised):
  promised(run, SMALL, *finished, ("curves.png", "cosine.png", "labels.png"), (ALONE, BINARY))


def test_codes_are_drawn_from_each_runs_key():
  for kind, draw in (("binary", labels.binary_labels), ("uniform", labels.uniform_labels)):
    found = draw_codes(SMALL, kind, 10)
    assert found.shape == (2, 10, 24)
    for seed, codes in zip((3, 4), found, strict=True):
      np.testing.assert_array_equal(codes, draw(jax.random.key(seed), 10, 24))
  _, binary = jobs(SMALL)
  init = jax.jit(binary.problem.init)
  for seed, codes in zip((3, 4), binary.settings, strict=True):
    found = init(jax.random.key(seed), codes)
    np.testing.assert_array_equal(found[CODES], labels.binary_labels(jax.random.key(seed), 10, 24))


def test_each_seed_has_its_own_labelled_images():
  images = load(SMALL)
  subsets = labelled(SMALL, images)
  for seed, subset in zip((3, 4), subsets, strict=True):
    expected = data.labelled_fraction(images.parts["train"][MAIN], 0.1, seed=seed)
    np.testing.assert_array_equal(subset, expected)
  assert set(subsets[0]) != set(subsets[1])


def test_losses_are_those_of_class_and_code():
  _, binary = jobs(SMALL)
  problem, images = binary.problem, load(SMALL)
  batch = {name: values[:6] for name, values in images.parts["train"].items()}
  network = models.MultiHead(
    SMALL.network.build(),
    {MAIN: nn.Dense(10), AUX: models.DenseLabelDecoder(24, side=8, width=4)},
  )

  @jax.jit
  def both(batch, codes):
    variables = problem.init(jax.random.key(0), codes)
    batch = problem.prepare(jax.random.key(1), batch)
    params = variables.pop("params")
    found, aux = problem.losses_fn(params, variables, batch, jax.random.key(2))
    known = {"params": params, "batch_stats": variables["batch_stats"]}
    outputs, _ = network.apply(known, batch["image"], train=True, mutable=["batch_stats"])
    main = optax.softmax_cross_entropy_with_integer_labels(outputs[MAIN], batch[MAIN]).mean()
    code = optax.sigmoid_binary_cross_entropy(outputs[AUX], codes[batch[MAIN]]).mean()
    return found, aux, [main, code]

  found, aux, want = both(batch, binary.settings[0])
  np.testing.assert_allclose(found, want, rtol=1e-5)
  np.testing.assert_array_equal(aux.model_state[CODES], binary.settings[0])


def test_batches_are_made_equal_only_where_asked():
  assert [job.feed.batch_size for job in jobs(SMALL)] == [40, 40]  # of 108 images
  equal = jobs(override(SMALL, equal_batches=True))[0].feed
  assert (equal.batch_size, equal.steps) == (36, 3)


def test_what_is_kept_and_measured_has_no_auxiliary_head(finished):
  folder, summary = finished
  alone, binary = (
    training.load_weights(folder / name / "weights.safetensors")
    for name in ("baseline", "binary_0.5_0.5")
  )
  assert jax.tree.map(np.shape, binary) == jax.tree.map(np.shape, alone)
  assert set(binary["params"]) == {"backbone", f"heads_{MAIN}"}
  # The accuracy is that of these weights alone.
  problem, images = jobs(SMALL)[0].problem, load(SMALL)
  one = jax.tree.map(lambda leaf: leaf[1], binary)
  test = images.parts["test"]
  right = np.argmax(jax.jit(problem.predict)(one, test)[MAIN], -1) == test[MAIN]
  found = summary["results"][1]["values"]["accuracy"][MAIN][1]
  assert found == pytest.approx(100 * right.mean())


def test_the_report_says_what_was_learned_and_what_came_out(finished):
  folder, summary = finished
  alone, binary = summary["results"]
  assert (alone["name"], binary["name"]) == (ALONE, BINARY)
  assert alone["paper"] is binary["paper"] is None  # the paper has no digits
  assert "cosine" not in alone["values"]
  assert np.abs(binary["values"]["cosine"]["main, auxiliary"]).max() <= 1
  assert summary["labelled_images"] == 108
  assert summary["conclusions"][0].startswith(f"Test accuracy of the class: {BINARY}")
  assert "over 2 seeds" in summary["conclusions"][0]
  table = (folder / "results.md").read_text()
  assert "108 labelled images" in table
  assert "Main task: the class" in table
  assert "Mean ± standard deviation over 2 seed(s)" in table


def test_the_aggregator_has_options(monkeypatch):
  made, build = [], Method.build
  monkeypatch.setattr(Method, "build", lambda self, *n: made.append(self) or build(self, *n))
  jobs(override(SMALL, aggregator="metabalance:strategy=A"))
  assert made[-1].aggregator_options == {"strategy": "A"}


def test_the_cosine_of_every_epoch_is_that_of_the_tasks_gradients(finished):
  job = jobs(override(SMALL, aggregator="none"))[1]
  images, rows = load(SMALL), labelled(SMALL, load(SMALL))[:, :40]
  keys = jax.vmap(jax.random.key)(np.array(job.seeds))

  @jax.jit
  @jax.vmap
  def begin(key, setting):
    variables = job.problem.init(key, setting)
    return variables, job.start(job.update, key, variables)

  variables, state = begin(keys, job.settings)
  after, found = job.after_epoch(state, {})
  assert after is state
  one = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[0]), variables)
  params = one.pop("params")
  batch = {name: values[rows[0]] for name, values in images.parts["train"].items()}

  @jax.jit
  def gradients(batch):
    batch = job.problem.prepare(keys[0], batch)

    def shared(backbone):
      whole = {**params, "backbone": backbone}
      return job.problem.losses_fn(whole, one, batch, keys[0])[0]

    return jax.jacrev(shared)(params["backbone"])

  leaves = jax.tree.leaves(gradients(batch))
  rows = np.concatenate([np.asarray(leaf).reshape(2, -1) for leaf in leaves], axis=1)
  expected = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
  np.testing.assert_allclose(found["cosine"][0, 0, 1], expected, rtol=1e-4, atol=1e-5)
  # With an aggregator the steps measure it.
  with_aggregator = jobs(SMALL)[1]
  assert with_aggregator.after_epoch(state, {}) == (state, {})


@pytest.mark.parametrize(
  ("change", "changed"),
  [
    ({"task_weights": ("0.1,0.9",)}, "binary"),
    ({"label_kinds": ("none", "uniform")}, "binary"),
    ({"dim": 30}, "binary"),
    ({"decoder_side": 16}, "binary"),
    ({"aggregator": "pcgrad"}, "binary"),
    ({"fraction": 0.2}, "both"),
    ({"learning_rate": 0.2}, "both"),
    ({"equal_batches": True}, "both"),
    ({"workdir": "elsewhere", "checkpoint_every": "3"}, "none"),
  ],
)
def test_an_option_changes_only_the_runs_that_depend_on_it(change, changed):
  before, after = (
    [identity_of(job) for job in jobs(c)] for c in (SMALL, override(SMALL, **change))
  )
  same = [old == new for old, new in zip(before, after, strict=True)]
  assert same == {"binary": [True, False], "both": [False, False], "none": [True, True]}[changed]


def test_only_a_schedule_without_milestones_can_be_trained_on():
  assert not jobs(SMALL)[0].recipe.open_ended
  assert jobs(override(SMALL, milestones=()))[0].recipe.open_ended


def test_the_rate_falls_to_a_tenth_at_each_milestone():
  config = override(
    SMALL, epochs=8, milestones=(0.5, 0.75), momentum=0.0, weight_decay=0.0, learning_rate=1.0
  )
  optimizer = jobs(config)[0].recipe.optimizer(8 * 3)
  state, sizes = optimizer.init(np.zeros(1)), []
  for _ in range(24):
    updates, state = optimizer.update(np.ones(1), state, np.zeros(1))
    sizes.append(-updates[0])
  np.testing.assert_allclose(sizes, [1.0] * 12 + [0.1] * 6 + [0.01] * 6, rtol=1e-5)


@pytest.mark.parametrize(
  ("preset", "change", "weights", "figures"),
  [
    ("paper", {"backbone": "vgg19"}, (0.5, 0.5), (70.765, 71.57)),
    ("paper", {"backbone": "vgg19"}, (0.9, 0.1), (70.765, 71.57)),
    ("paper", {"backbone": "vgg19"}, (0.1, 0.9), (70.765, None)),
    ("paper", {"backbone": "vgg19", "fraction": 0.02}, (0.1, 0.9), (4.4, 13.03)),
    ("paper", {"backbone": "vgg19", "fraction": 0.02}, (0.5, 0.5), (4.4, None)),
    ("few", {}, (0.1, 0.9), (1.86, 9.24)),
    ("scratch", {"dataset": "cars196"}, (0.9, 0.1), (13.27, 27.11)),
    ("scratch", {"dataset": "x/fgvc_aircraft.npz"}, (0.9, 0.1), (56.38, 63.52)),
    ("transfer", {"pretrained": "net.pth"}, (0.5, 0.5), (95.6, 96.17)),
    ("transfer", {"pretrained": "net.pth", "fraction": 0.1}, (0.5, 0.5), (None, None)),
    ("paper", {"backbone": "vgg19", "width": 0.5}, (0.5, 0.5), (None, None)),
  ],
)
def test_the_published_figure_is_that_of_data_network_and_weights(preset, change, weights, figures):
  config = override(PRESETS[preset], **change)
  found = [paper.published(config, v) for v in (Variant("none"), Variant("binary", weights))]
  assert tuple(found) == figures


def test_a_pretrained_backbone_is_taken_and_heads_are_new(finished):
  folder, _ = finished
  config = override(SMALL, label_kinds=("binary",), epochs=1, pretrained=str(folder / "baseline"))
  (job,) = jobs(config)
  assert "weights.safetensors" in identity_of(job)["pretrained"]
  keys = jax.vmap(jax.random.key)(np.array(job.seeds))
  fresh = jax.jit(jax.vmap(job.problem.init))(keys, job.settings)
  started = job.weights(fresh)
  given = training.load_weights(folder / "baseline" / "weights.safetensors")
  jax.tree.map(
    np.testing.assert_array_equal, started["params"]["backbone"], given["params"]["backbone"]
  )
  for name in (f"heads_{MAIN}", f"heads_{AUX}"):
    jax.tree.map(np.testing.assert_array_equal, started["params"][name], fresh["params"][name])
  np.testing.assert_array_equal(started[CODES], fresh[CODES])
  state = jax.eval_shape(jax.vmap(lambda key, v: job.start(job.update, key, v)), keys, started)
  assert jax.tree.map(np.shape, job.variables(state)["params"]["backbone"]) == jax.tree.map(
    np.shape, given["params"]["backbone"]
  )


def test_a_variant_keeps_its_colour_and_curves_say_what_they_are(finished, tmp_path):
  folder, summary = finished
  done = jobs(SMALL)
  runner = SMALL.run.runner(folder)
  outcomes = {v: runner.run(job) for v, job in zip(SMALL.check(), done, strict=True)}
  codes = {"none": done[0].settings, "binary": done[1].settings}
  found = figures.draw(SMALL, outcomes, load(SMALL), codes, tmp_path)
  assert {path.name for path in tmp_path.iterdir()} == set(found)
  curves, cosine = found["curves.png"].axes[0], found["cosine.png"].axes[0]
  lines = {line.get_label(): line for line in curves.get_lines()}
  colors = plots.palette([ALONE, BINARY])
  assert {name: line.get_color() for name, line in lines.items()} == colors
  for row in summary["results"]:
    height = np.mean(row["values"]["validation_accuracy"][MAIN])
    assert lines[row["name"]].get_ydata()[-1] == pytest.approx(height)
    assert lines[row["name"]].get_xdata().tolist() == [1, 2]
  assert curves.get_ylabel() == "validation accuracy (%)"
  assert "seed" not in curves.get_title()  # the note says it
  assert "mean of 2 seeds" in found["curves.png"].get_supxlabel()
  binary, zero = cosine.get_lines()
  assert (binary.get_label(), binary.get_color()) == (BINARY, colors[BINARY])
  assert set(zero.get_ydata()) == {0}
  assert "auxiliary task, binary code of seed 3" in found["labels.png"].axes[1].get_title("left")


def test_a_variant_that_diverged_is_a_row(finished, tmp_path):
  folder, _ = finished
  done = jobs(SMALL)
  runner = SMALL.run.runner(folder)
  alone, binary = (runner.run(job) for job in done)
  lost = dataclasses.replace(binary, failure="the loss is nan", values={})
  found = dict(zip(SMALL.check(), (alone, lost), strict=True))
  images, codes = load(SMALL), {"binary": done[1].settings}
  summary = report.write(SMALL, found, images, codes, 108, tmp_path, "2 of 3 trainings")
  assert summary["results"][1]["values"] == {}
  assert summary["conclusions"] == []
  table = (tmp_path / "results.md").read_text()
  assert f"| {BINARY} | diverged | - |" in table
  assert "**Partial: 2 of 3 trainings.**" in table


def test_the_paper_preset_is_the_papers_recipe():
  config = PRESETS["paper"]
  schedule, learned = config.schedule, config.training
  assert (learned.learning_rate, schedule.momentum, schedule.weight_decay) == (0.1, 0.9, 1e-4)
  assert (learned.batch_size, learned.epochs, config.run.seeds) == (128, 600, 3)
  assert [share * learned.epochs for share in schedule.milestones] == [300, 450]
  assert (schedule.crop_padding, schedule.flip, schedule.equal_batches) == (4, True, False)
  auxiliary = config.labels
  assert (auxiliary.dim, auxiliary.decoder_side, auxiliary.decoder_width) == (4096, 64, 64)
  assert (auxiliary.aggregator, config.run.evaluate_every) == ("metabalance", "1")
  assert auxiliary.task_weights == ("0.5,0.5", "0.9,0.1")
  assert PRESETS["few"].labels.task_weights == ("0.1,0.9",)
  scratch = PRESETS["scratch"]
  assert [round(s * scratch.training.epochs) for s in scratch.schedule.milestones] == [30, 60]
  assert PRESETS["transfer"].training.epochs == 60
