"""Auto-lambda's own: what each run is told, what it depends on, and what became of weights."""

import contextlib
import io
import math
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.auto_lambda.config import PRESETS, WeightOptions
from experiments.auto_lambda.images import load
from experiments.auto_lambda.jobs import MULTI_TASK, methods_of, plan
from experiments.auto_lambda.run import run
from experiments.runner import report, store
from experiments.runner import run as runner
from experiments.runner.config import override
from experiments.runner.job import Problem, Recipe
from experiments.runner.methods import Method, update_of
from experiments.runner.report import SINGLE
from jaxmtl.training import Aux

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = override(
  PRESETS["quick"],
  methods=("equal", "dwa", "auto_lambda"),
  auxiliary_methods=("gcs", "moml"),
  compare="none",
  weight_learning_rate=3e-4,
  tasks=("left", "noise"),
  train_images=60,
  image_size=10,
  width=2,
  epochs=2,
  batch_size=20,
  seeds=2,
)


@pytest.fixture(scope="module")
def images():
  return load(SMALL.data, SMALL.own_data, SMALL.run.seed)


def identities(config, images):
  return {key: store.identity_of(job) for key, job in plan(config, images).items()}


def test_what_each_run_is_told():
  names = ("auto_lambda", "auto_lambda+pcgrad", "forum", "gcs", "dwa")
  config = override(
    SMALL,
    methods=names,
    auxiliary_methods=names[:4],
    compare="finite_difference",
    weight_learning_rate=None,
    ablations=("init", "learning_rate", "no_swapping"),
  )
  told = methods_of(config, steps=1000)
  main = told[MULTI_TASK, "auto_lambda"]
  assert main.options["primary"] == [0]  # noise is not
  assert main.options["learning_rate"] == 0.004  # 4 over the steps
  assert told["left", "auto_lambda+pcgrad"].options == main.options
  assert told["left", "forum"].options == {"primary": [0], "learning_rate": 0.004}
  assert told["left", "gcs"].aggregator_options == {"primary": (0,)}
  assert told[MULTI_TASK, "dwa"].options == {}
  near = told[MULTI_TASK, "auto_lambda, finite difference"]
  assert near.options == main.options | {"estimator": "finite_difference"}
  ablated = {name: m for (_, name), m in told.items() if name.startswith("auto_lambda, ")}
  assert ablated["auto_lambda, init 0.01"].options["init"] == 0.01
  rates = sorted(m.options["learning_rate"] for m in ablated.values())
  np.testing.assert_allclose([rates[0], *rates[-2:]], [0.0012, 0.012, 0.04])
  assert [name for name, m in ablated.items() if not m.swap] == ["auto_lambda, no swapping"]
  # In very few steps a weight of .1 must not be thrown about.
  assert methods_of(config, steps=4)[MULTI_TASK, "auto_lambda"].options["learning_rate"] == 0.01


def test_the_weights_rate_is_said_and_explained():
  assert "learning rate is 0.004, 4 over 1000 steps, as far as" in WeightOptions().explain(1000)
  few = WeightOptions().explain(32)
  assert "learning rate is 0.01, the largest taken by itself: 4 over 32 steps would be 0.12" in few
  assert "below zero after about 10 steps" in few
  given = WeightOptions(weight_learning_rate=0.02).explain(1000)
  assert "learning rate is 0.02, as given (4 over 1000 steps would be 0.004)" in given


@pytest.mark.parametrize(
  ("change", "changed"),
  [
    ({"weight_learning_rate": 1e-3}, {(MULTI_TASK, "auto_lambda"), ("left", "moml")}),
    ({"weight_init": 0.2}, {(MULTI_TASK, "auto_lambda")}),
    ({"num_sampled": 1}, {(MULTI_TASK, "auto_lambda")}),
    ({"primaries": ("noise",)}, {("left", "gcs"), ("left", "moml")}),  # are gone
    ({"validation": 0.3}, set()),
    ({"compare": "first_order", "ablations": ("init",)}, set()),
  ],
)
def test_an_option_changes_only_what_depends_on_it(change, changed, images):
  before, after = identities(SMALL, images), identities(override(SMALL, **change), images)
  assert {key for key in before if after.get(key) != before[key]} == changed


FIRST = override(
  SMALL,
  methods=("equal", "auto_lambda"),
  auxiliary_methods=("gcs",),
  compare="finite_difference",
  epochs=1,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, first_folder):
  """Two runs in a folder, the second at another weight rate: results, what they said and wrote."""
  folder, found = tmp_path_factory.mktemp("runs"), []
  changed = override(
    FIRST, compare="none", weight_learning_rate=0.5, weight_init=0.3, num_sampled=1
  )
  write = report.write_report
  for each in (FIRST, changed):
    tables = []

    def record(folder, *args, tables=tables, **options):
      summary = write(folder, *args, **options)
      tables.append((options["partial"], (folder / "results.md").read_text()))
      return summary

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
      patch.setattr(report, "write_report", record)
      patch.setattr(runner, "REPORT_SHARE", math.inf)
      found.append((run(each, folder), said.getvalue(), tables))
    if each is FIRST:
      shutil.copytree(folder, first_folder, dirs_exist_ok=True)
  return found


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory):
  """What the first of the two wrote."""
  return tmp_path_factory.mktemp("first")


def test_it_writes_what_it_promises_and_trains_nothing_again(runs, first_folder, promised):
  files = ("weights.png", "relations.png", "exact.png")
  methods = ("equal", "auto_lambda", "auto_lambda, finite difference", "gcs")
  promised(run, FIRST, first_folder, runs[0][0], files, ("single task", *methods))


def test_single_tasks_and_equal_are_found_on_disk_at_another_weight_rate(runs):
  (first, said, _), (again, said_again, _) = runs
  assert "learning rate is 0.0003, as given" in said
  assert "6 training(s): 18 steps in all" in said
  assert "5 training(s), 4 of them on disk already: 3 steps in all" in said_again
  assert "learning rate is 0.5, as given" in said_again
  assert re.search("multi-task_auto_lambda has .*learning_rate=0.0003 instead of 0.5", said_again)
  assert again["results"][:2] == first["results"][:2]
  weights = np.array(list(first["results"][2]["values"]["last_weight"].values()))
  assert weights.shape == (2, 2)  # tasks, seeds
  assert np.all(np.abs(weights - 0.1) < 3 * 3e-4)
  assert np.any(weights != np.float32(0.1))


def test_tables_are_written_after_each_training(runs):
  _, _, tables = runs[0]
  # The first two are the baselines.
  counts = [f"{n} of 6 trainings" for n in (2, 3, 4, 5)]
  assert [partial for partial, _ in tables] == [*counts, None]
  assert "**Partial: 2 of 6 trainings.**" in tables[0][1]
  assert "| auto_lambda |" not in tables[1][1]
  assert "| auto_lambda |" in tables[2][1]
  assert "Partial" not in tables[-1][1]
  assert "| finite difference | 0.1" in tables[-1][1]


def test_gaps_of_exact_and_approximate_weights(runs):
  summary = runs[0][0]
  gaps = summary["exact_against_approximate"]
  assert set(gaps) == {"left", "noise"}
  assert 0 <= gaps["left"]["mean"] <= gaps["left"]["largest"] < 1e-3
  assert any(s.startswith("Weights of exact and finite difference") for s in summary["conclusions"])


def test_a_weight_below_zero_is_reported(runs):
  (calm, _, _), (summary, said, _) = runs
  assert calm["below_zero"] == []
  assert not any(s.startswith("Warning") for s in calm["conclusions"])
  mine = [each for each in summary["below_zero"] if each["name"] == "auto_lambda"]
  assert mine, summary["results"]
  (warning,) = [s for s in summary["conclusions"] if s.startswith("Warning: auto_lambda, multi-t")]
  for each in mine:
    assert each["setting"] == MULTI_TASK
    assert each["weight"] < 0
    place = f"{each['task']} ({each['weight']:.2g} in seed {each['seed']}, epoch 1)"
    assert place in warning
  assert warning in said


def test_without_swapping_both_batches_are_the_same():
  def losses_fn(params, model_state, batch, key):
    return jnp.stack([jnp.mean((params - batch) ** 2), jnp.mean((params + batch) ** 2)]), Aux()

  problem = Problem(
    ("a", "b"), None, losses_fn, None, None, {}, shared=lambda p: jax.tree.map(lambda _: True, p)
  )
  recipe = Recipe(lambda steps: optax.sgd(0.1), 1)
  options = {"primary": [0], "learning_rate": 0.01}
  swapping, plain = (
    update_of(Method("auto_lambda", None, options, swap), problem, recipe, 4)
    for swap in (True, False)
  )
  assert swapping.pairs
  assert not plain.pairs  # one batch a step is taken from the feed

  def after(step, batch):
    state, metrics = jax.jit(step.update)(step.init(jnp.ones(()), jax.random.key(0)), batch)
    return state.params, metrics["hypergradient"]

  one, other = jnp.arange(3.0), jnp.arange(3.0) - 5
  same = after(swapping, (one, one))
  np.testing.assert_array_equal(after(plain, one)[1], same[1])
  assert np.any(after(swapping, (one, other))[1] != same[1])


def test_single_tasks_stand_in_the_plan_first(images):
  keys = list(plan(SMALL, images))
  assert keys[:2] == [(SINGLE, "left"), (SINGLE, "noise")]
  assert keys[2:] == [
    *((MULTI_TASK, name) for name in SMALL.methods),
    ("left", "gcs"),
    ("left", "moml"),
  ]
