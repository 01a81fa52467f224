"""Tables and figures of the Auto-lambda experiment, from results made up here."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from experiments.auto_lambda import figures, paper, report
from experiments.auto_lambda.config import PRESETS
from experiments.auto_lambda.jobs import MULTI_TASK
from experiments.problems.domains import NAMES
from experiments.runner.config import override
from experiments.runner.job import Outcome
from experiments.runner.report import SINGLE
from jaxmtl import plots

TASKS = ("task0", "task1", "task2", "noise")
DIGITS = override(PRESETS["quick"], tasks=TASKS, primaries=TASKS[:2], seeds=2)
DOMAINS = override(PRESETS["cifar100"], tasks=NAMES, primaries=("people",), seeds=2)


def outcome(level, tasks=TASKS, failure=None, weights=None):
  """Three epochs of two seeds; weights `[3, 2, T]`."""
  if weights is None:
    weights = np.tile(0.1 * (1 + np.arange(len(tasks))), (3, 2, 1))
  history = [
    {"epoch": i + 1, "step": 4 * i + 4, "seconds": 0.02, "weights": np.asarray(w).tolist()}
    for i, w in enumerate(weights)
  ]
  accuracy = {t: np.array([level + i, level + i + 2.0]) for i, t in enumerate(tasks)}
  values = {} if failure else {"accuracy": accuracy}
  return Outcome("name", tasks, values, history, 5.0, 1.0, 0.1, failure, None)


def single(task, level):
  values = {"accuracy": {task: np.array([level, level + 2.0])}}
  row = {"epoch": 1, "step": 4, "seconds": 0.02}
  return Outcome(f"single_{task}", (task,), values, [row], 1.25, 1.0, 0.1, None, pathlib.Path())


def write(config, found, folder, partial=None):
  outcomes = {" ".join(key): value for key, value in found.items()}
  return report.write(config, {key: " ".join(key) for key in found}, outcomes, folder, partial)


def lines(folder):
  """The tables of results.md: by title, cells by a row's first one."""
  tables = {}
  for part in ("\n" + (folder / "results.md").read_text()).split("\n# ")[1:]:
    title, _, rest = part.partition("\n")
    rows = [[c.strip() for c in r.split("|")[1:-1]] for r in rest.splitlines() if "|" in r]
    tables[title] = {row[0]: row[1:] for row in rows if row[0] != "---"}
  return tables


SINGLES = {(SINGLE, t): single(t, 40.0 + i) for i, t in enumerate(TASKS)}


def test_forms_of_the_thesis(tmp_path):
  names = ("equal", "auto_lambda", "equal+pcgrad", "auto_lambda+pcgrad", "auto_lambda, init 1")
  found = {(MULTI_TASK, n): outcome(50 + i) for i, n in enumerate(names)}
  found[MULTI_TASK, "dwa"] = outcome(0, failure="the loss is nan")
  found |= {(t, n): outcome(60) for t in TASKS[:2] for n in ("gcs", "auto_lambda")}
  summary = write(DIGITS, SINGLES | found, tmp_path)
  first, equal = summary["results"][:2]
  assert (first["name"], first["setting"]) == (SINGLE, MULTI_TASK)
  np.testing.assert_allclose(
    equal["delta_mtl"],
    100 * np.mean([[10 / 40, 10 / 41, 10 / 42], [10 / 42, 10 / 43, 10 / 44]], 1),
  )
  np.testing.assert_allclose(equal["values"]["last_weight"]["task1"], [0.2, 0.2])
  main, auxiliary, pairs, settings = lines(tmp_path).values()
  assert main["method"][:6] == [*TASKS, "mean", "Delta_MTL (%)"]
  assert main["single task"][4:] == ["42.0 ± 1.4", "0", "5.0"]  # without noise
  assert main["dwa"][0] == "diverged"
  assert list(auxiliary) == ["method", "single task", "gcs", "auto_lambda"]
  assert auxiliary["gcs"][:2] == ["61.0 ± 1.4", "62.0 ± 1.4"]
  assert pairs[""] == ["equal", "auto_lambda"]
  assert list(pairs) == ["", "alone", "+ pcgrad"]
  assert settings["init 1"][:4] == ["0.10", "0.20", "0.30", "0.40"]
  multi_task, with_primary = summary["conclusions"]
  assert "Delta_MTL over all tasks but noise: auto_lambda 2" in multi_task
  assert "mean of 2 run(s): auto_lambda" in with_primary
  assert "no more than seeds" in with_primary


def test_what_there_is_so_far(tmp_path):
  names = {key: " ".join(key) for key in SINGLES} | {
    (t, n): f"{t} {n}" for t in TASKS[:2] for n in ("gcs", "auto_lambda")
  }
  outcomes = {names[key]: value for key, value in SINGLES.items()}
  early = dict(list(outcomes.items())[:3])
  assert report.write(DIGITS, names, early, tmp_path, "3 of 8") == {}
  assert not list(tmp_path.iterdir())
  outcomes["task0 gcs"] = outcome(60)
  report.write(DIGITS, names, outcomes, tmp_path, "5 of 8 trainings")
  assert "**Partial: 5 of 8 trainings.**" in (tmp_path / "results.md").read_text()
  _, auxiliary = lines(tmp_path).values()
  assert auxiliary["gcs"] == ["61.0 ± 1.4", "-", "-"]


def test_a_diverged_run_names_its_weights_below_zero(tmp_path):
  weights = np.full((3, 2, 4), 0.1)
  weights[1:, 1, 2] = [-0.03, -0.096]
  found = {(MULTI_TASK, "auto_lambda"): outcome(0, failure="the loss is nan", weights=weights)}
  summary = write(DIGITS, SINGLES | found, tmp_path)
  assert summary["below_zero"] == [
    {
      **{"setting": MULTI_TASK, "name": "auto_lambda", "task": "task2"},
      **{"weight": -0.096, "seed": 1, "epoch": 3.0},
    }
  ]
  (warning,) = summary["conclusions"]
  assert "weight below zero of task2 (-0.096 in seed 1, epoch 3). A loss with such" in warning


def test_a_baseline_that_diverges_leaves_accuracies_without_a_change(tmp_path):
  lost = single("task1", 0.0)
  lost = dataclasses.replace(lost, values={}, failure="the loss is nan")
  found = {(MULTI_TASK, n): outcome(50) for n in ("equal", "auto_lambda")}
  found |= {("task0", "gcs"): outcome(60), ("task1", "gcs"): outcome(60)}
  summary = write(DIGITS, SINGLES | {(SINGLE, "task1"): lost} | found, tmp_path)
  assert summary["results"][0]["failure"] == "task1: the loss is nan"
  assert summary["results"][1]["delta_mtl"] is None
  main, auxiliary = lines(tmp_path).values()
  assert main["single task"][0] == "diverged"
  assert main["equal"][:1] + main["equal"][5:6] == ["51.0 ± 1.4", "-"]
  assert auxiliary["gcs"] == ["61.0 ± 1.4", "62.0 ± 1.4", "-"]
  assert summary["conclusions"] == []


def domains_single():
  """Runs of two seeds by twenty domains, as one job has them."""
  accuracy = np.array([40.0 + np.arange(20), 42.0 + np.arange(20)]).ravel()
  row = {"epoch": 1, "step": 4, "seconds": 0.02, "losses": np.ones((40, 1)).tolist()}
  values = {"accuracy": {"own domain": accuracy}}
  return Outcome("single", ("own domain",), values, [row], 5.0, 1.0, 0.1, None, None)


def test_the_papers_figures_stand_beside_the_domains(tmp_path):
  found = {
    (SINGLE, "all"): domains_single(),
    (MULTI_TASK, "equal"): outcome(50, NAMES),
    ("people", "gcs"): outcome(60, NAMES),
  }
  summary = write(DOMAINS, found, tmp_path)
  one, equal, gcs = summary["results"]
  assert one["values"]["accuracy"]["fish"] == [41, 43]
  assert equal["paper"]["accuracy"]["people"] == 57.73
  assert gcs["paper"] == {"accuracy": {"people": 56.45}}
  main, auxiliary = lines(tmp_path).values()
  assert main["method"][:6] == [*paper.HARDEST, "mean"]
  assert main["equal, paper"][:6] == ["57.7", "73.6", "74.4", "74.6", "76.7", "82.5"]
  # Table 3.2 has these for single tasks.
  assert main["single task, paper"][:6] == ["55.4", "68.7", "72.8", "75.4", "75.8", "82.2"]
  assert auxiliary["gcs, paper"][0] == "56.5"


def learned_by(config, **settings):
  """Figures of Auto-lambda's runs, and of finite differences with weights of zero."""
  found = {(setting, "auto_lambda"): one for setting, one in settings.items()}
  near = outcome(50, config.tasks, weights=np.zeros((3, 2, len(config.tasks))))
  return found, figures.gaps(found.get((MULTI_TASK, "auto_lambda")), near)


def looks(figure):
  """Of each line that has a task's name, in all panels."""
  found = {}
  for axes in figure.axes:
    for line in axes.get_lines():
      if line.get_label() in (*TASKS, *NAMES):
        look = line.get_color(), line.get_linestyle(), line.get_marker()
        found.setdefault(line.get_label(), set()).add(look)
  return found


@pytest.mark.parametrize("config", [DIGITS, DOMAINS], ids=["four tasks", "twenty tasks"])
def test_one_look_a_task_in_all_figures(config, tmp_path):
  tasks = config.tasks
  runs = learned_by(config, **{s: outcome(50, tasks) for s in (MULTI_TASK, tasks[1])})
  drawn = figures.draw(config, *runs, [], {}, tmp_path)
  assert {path.name for path in tmp_path.iterdir()} == set(drawn)
  assert set(drawn) == {"weights.png", "relations.png", "exact.png"}
  weights, difference = drawn["weights.png"], drawn["exact.png"]
  first, second = looks(weights), looks(difference)
  assert all(len(found) == 1 for found in first.values())
  assert len(set.union(*first.values())) == len(first)  # no two tasks look alike
  colors = plots.palette(tasks, plots.DATA_COLORS)
  assert all({look[0] for look in found} == {colors[task]} for task, found in first.items())
  assert all(first[task] == found for task, found in second.items() if task in first)
  assert [axes.get_title() for axes in weights.axes] == [MULTI_TASK, f"primary: {tasks[1]}"]
  shown = [text.get_text() for text in weights.legends[0].get_texts()]
  assert shown == [*(task for task in tasks if task in first), "first weight"]
  assert tasks[1] in shown  # the primary task always
  assert ("of 20 tasks" in weights.get_suptitle()) == (len(tasks) == 20)
  assert ("of 20 tasks" in difference.axes[0].get_title()) == (len(tasks) == 20)
  for figure in (weights, difference):
    for axes in figure.axes:
      assert np.isfinite([axes.get_xlim(), axes.get_ylim()]).all()
      assert len(axes.collections) == len([x for x in axes.get_lines() if x.get_label() in first])


def test_weights_below_zero_are_seen(tmp_path):
  weights = np.full((3, 2, 4), 0.4)
  weights[:, :, 3] = -0.2
  drawn = figures.draw(
    DIGITS, *learned_by(DIGITS, task0=outcome(50, weights=weights)), [], {}, tmp_path
  )
  assert set(drawn) == {"weights.png", "relations.png"}
  axes, bar = drawn["relations.png"].axes
  (image,) = axes.get_images()
  assert [label.get_text() for label in axes.get_xticklabels()] == list(TASKS)
  assert [label.get_text() for label in axes.get_yticklabels()] == ["primary: task0"]
  assert [text.get_text() for text in axes.texts] == ["+0.40"] * 3 + ["-0.20"]
  red, _, blue = image.cmap(image.norm(-0.2))[:3]
  assert red > blue
  red, _, blue = image.cmap(image.norm(0.4))[:3]
  assert red < blue
  assert np.allclose(image.norm([-0.4, -0.2, 0, 0.4]), [0, 0.25, 0.5, 1])  # linear
  assert [text.get_text() for text in bar.get_yticklabels()] == ["-0.4", "0", "+0.4"]
  (panel,) = drawn["weights.png"].axes
  assert panel.get_ylim()[0] < -0.2
  levels = {line.get_label(): line.get_ydata()[0] for line in panel.lines[4:]}
  assert levels == {"first weight": 0.1, "zero": 0}


def test_one_epoch_and_one_seed(tmp_path):
  config = override(DIGITS, seeds=1)
  one = outcome(50, weights=np.full((1, 1, 4), 0.1))
  found = {(MULTI_TASK, "auto_lambda"): one}
  drawn = figures.draw(config, found, figures.gaps(one, None), [], {}, tmp_path)
  (axes,) = drawn["weights.png"].axes
  low, high = axes.get_xlim()
  assert low < 1 < high
  assert all(line.get_marker() == "o" for line in axes.get_lines() if line.get_label() in TASKS)
  assert "seed" not in drawn["weights.png"].legends[0].get_title().get_text()


def test_without_a_run_of_auto_lambda_there_is_no_figure(tmp_path):
  assert figures.draw(DIGITS, {}, figures.gaps(None, None), [], {}, tmp_path) == {}
  assert not list(tmp_path.iterdir())


def test_gain_stands_against_cost(tmp_path):
  found = {(MULTI_TASK, "equal"): outcome(60), (MULTI_TASK, "dwa"): outcome(0, failure="nan")}
  write(DIGITS, SINGLES | found, tmp_path)
  rows = json.loads((tmp_path / "results.json").read_text())["results"]
  metrics = dict.fromkeys(TASKS, "accuracy")
  drawn = figures.draw(DIGITS, {}, figures.gaps(None, None), rows, metrics, tmp_path)
  (axes,) = drawn["cost.png"].axes
  points = {c.get_label(): c.lines[0].get_xydata().tolist() for c in axes.containers}
  # Of both single tasks' networks, and the mean over the three tasks that are judged.
  judged = np.mean([[60 + t, 62 + t] for t in range(4) if TASKS[t] in DIGITS.judged])
  assert set(points) == {"single task", "equal"}  # dwa diverged
  assert points["equal"] == [[rows[1]["ms_per_step"], judged]]
  metrics["task1"] = "mae"
  drawn = figures.draw(DIGITS, {}, figures.gaps(None, None), rows, metrics, tmp_path)
  assert drawn["cost.png"].axes[0].get_ylabel() == "Delta_MTL (%)"
