import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.auto_lambda import MULTI_TASK, PRESETS, _plan, run
from experiments.benchmark_training import scan
from experiments.methods import Method
from jaxmtl.training import TrainState, TrainStep

pytestmark = pytest.mark.usefixtures("one_layer")
SMALL = dataclasses.replace(
  PRESETS["quick"],
  methods=("auto_lambda",),
  weight_learning_rate=3e-4,
  tasks=("left", "noise"),
  primaries=("left",),
  train_images=60,
  image_size=10,
  width=2,
  epochs=2,
  batch_size=20,
  seeds=2,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  return folder, run(SMALL, folder)


def test_it_writes_what_it_promises(workdir):
  folder, outcome = workdir
  figures = ("weights.png", "relations.png", "exact.png")
  for name in ("config.json", "results.json", "results.md", *figures):
    assert (folder / name).stat().st_size
  assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome))
  rows = {(r["setting"], r["method"]): r for r in outcome["results"]}
  assert list(rows) == [
    (MULTI_TASK, "single task"),
    (MULTI_TASK, "auto_lambda"),
    (MULTI_TASK, "auto_lambda, finite difference"),
    ("left", "gcs"),
    ("left", "auto_lambda"),
  ]
  weights = np.array(list(rows["left", "auto_lambda"]["last_weights"].values()))
  assert weights.shape == (2, 2)
  assert np.all(np.abs(weights - 0.1) < 6 * SMALL.weight_learning_rate)
  assert np.any(weights != np.float32(0.1))
  gaps = outcome["exact_against_approximate"]
  assert set(gaps) == {"left", "noise"}
  assert 0 <= gaps["left"]["mean"] <= gaps["left"]["largest"] < 1e-3
  text = (folder / "results.md").read_text()
  assert text.count("\n# ") == 2  # three tables
  assert "| finite difference | 0.1" in text


def test_the_same_command_goes_on(workdir, capsys):
  folder, outcome = workdir
  again = run(SMALL, folder)
  assert capsys.readouterr().out.count("goes on after epoch 2 of 2") == 6
  first, second = ([r["test_accuracy"] for r in results["results"]] for results in (outcome, again))
  assert first == second


def test_what_each_run_is_told():
  names = ("auto_lambda", "auto_lambda+pcgrad", "forum", "gcs", "dwa")
  config = dataclasses.replace(
    SMALL,
    methods=names,
    auxiliary_methods=names[:4],
    weight_learning_rate=None,
    ablations=("init", "learning_rate", "no_swapping"),
  )
  methods = {name: Method.parse(name) for name in names}
  plan = _plan(config, methods, steps=1000)
  main = plan[MULTI_TASK, "auto_lambda"]
  assert main.options["primary"] == [0]  # noise is not
  assert main.options["learning_rate"] == 0.004  # 4 over the steps
  assert plan["left", "auto_lambda+pcgrad"].options == main.options
  assert plan["left", "forum"].options == {"primary": [0], "learning_rate": 0.004}
  assert plan["left", "gcs"].options == {"primary": (0,)}
  assert plan[MULTI_TASK, "dwa"].options == {}
  near = plan[MULTI_TASK, "auto_lambda, finite difference"]
  assert near.options == main.options | {"estimator": "finite_difference"}
  ablated = {name: m for (_, name), m in plan.items() if name.startswith("auto_lambda, ")}
  assert ablated["auto_lambda, init 0.01"].options["init"] == 0.01
  rates = sorted(m.options["learning_rate"] for m in ablated.values())
  np.testing.assert_allclose([rates[0], *rates[-2:]], [0.0012, 0.012, 0.04])
  assert [name for name, m in ablated.items() if not m.swap] == ["auto_lambda, no swapping"]
  # In very few steps a weight of .1 must not be thrown about.
  assert _plan(config, methods, steps=4)[MULTI_TASK, "auto_lambda"].options["learning_rate"] == 0.01


def test_without_swapping_both_batches_are_the_same():
  def update(state, pair):
    return state, {"same": jnp.all(pair[0] == pair[1])}

  step = TrainStep(lambda: None, update, pairs=True)
  state = TrainState(jnp.array(0), *[()] * 5, jax.random.key(0))
  images = jnp.arange(12)
  for swap in (True, False):
    epoch = scan(step, 4, lambda key, batch: batch, swap)
    assert bool(epoch(state, images)[1]["same"].all()) != swap


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"primaries": ("sum",)}, r"primaries \['sum'\] are not among the tasks"),
    ({"methods": ("auto_lamda",)}, "method 'auto_lamda' is not known"),
    ({"tasks": ("noise",), "primaries": ()}, "needs a task that is not noise"),
    ({"tasks": ("left", "sun")}, r"tasks \['sun'\] are not among the data's: left, right"),
    ({"num_sampled": 3}, "num_sampled must be from 1 to num_tasks=2, got 3"),
    ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ({"dataset": "mnist", "data_dir": "/nowhere"}, "nowhere"),
  ],
)
def test_bad_options_raise_before_anything_is_written(options, message, tmp_path):
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    run(dataclasses.replace(SMALL, **options), tmp_path / "new")
  assert not (tmp_path / "new").exists()
