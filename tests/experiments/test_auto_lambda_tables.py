"""Tables and figures of the Auto-lambda experiment, from results made up here."""

import numpy as np

from experiments import auto_lambda_figures, auto_lambda_tables, domains
from experiments.auto_lambda_tables import MULTI_TASK
from experiments.benchmark_training import Outcome

TASKS = ("task0", "task1", "task2", "noise")


def outcome(level, tasks=TASKS, failure=None):
  accuracy = {t: np.array([level + i, level + i + 2.0]) for i, t in enumerate(tasks)}
  weights = {t: np.full((2, 3), 0.1 * (i + 1)) for i, t in enumerate(tasks)}
  return Outcome(accuracy, {}, 5.0, failure, weights)


def lines(table):
  return {row[0]: list(row[1:]) for row in table.rows}


def test_forms_of_the_thesis():
  names = ("equal", "auto_lambda", "equal+pcgrad", "auto_lambda+pcgrad", "auto_lambda, init 1")
  outcomes = {(MULTI_TASK, n): outcome(50 + i) for i, n in enumerate(names)}
  outcomes[MULTI_TASK, "dwa"] = outcome(0, failure="the loss is nan")
  outcomes |= {(t, n): outcome(60) for t in TASKS[:2] for n in ("gcs", "auto_lambda")}
  single = outcome(40)
  rows = auto_lambda_tables.rows(TASKS, outcomes, single)
  np.testing.assert_allclose(
    rows[1]["delta_mtl"],
    100 * np.mean([[10 / 40, 10 / 41, 10 / 42], [10 / 42, 10 / 43, 10 / 44]], 1),
  )
  main, auxiliary, pairs, settings = auto_lambda_tables.tables("title", TASKS, rows, "digits")
  assert main.header == ["method", *TASKS, "mean", "Delta_MTL (%)", "ms a step"]
  assert lines(main)["single task"][4:] == ["42.0 ± 1.4", "0.0 ± 0.0", "5.0"]  # without noise
  assert lines(main)["dwa"][0] == "diverged"
  assert list(lines(auxiliary)) == ["single task", "gcs", "auto_lambda"]
  assert lines(auxiliary)["gcs"][:2] == ["61.0 ± 1.4", "62.0 ± 1.4"]
  assert pairs.header == ["", "equal", "auto_lambda"]
  assert list(lines(pairs)) == ["alone", "+ pcgrad"]
  assert lines(settings)["init 1"][:4] == ["0.10", "0.20", "0.30", "0.40"]


def test_the_papers_figures_stand_beside_the_domains():
  tasks = domains.NAMES
  found = {(MULTI_TASK, "equal"): outcome(50, tasks), ("people", "gcs"): outcome(60, tasks)}
  rows = auto_lambda_tables.rows(tasks, found, outcome(40, tasks))
  main, auxiliary = auto_lambda_tables.tables("title", tasks, rows, "cifar100")
  assert main.header[1:7] == [*domains.HARDEST, "mean"]
  assert lines(main)["equal, paper"][:6] == ["57.7", "73.6", "74.4", "74.6", "76.7", "82.5"]
  # Table 3.2 has these for single tasks.
  assert lines(main)["single task, paper"][:6] == ["55.4", "68.7", "72.8", "75.4", "75.8", "82.2"]
  assert lines(auxiliary)["gcs, paper"][0] == "56.5"


def test_figures_of_many_tasks(tmp_path):
  tasks = domains.NAMES
  found = {(setting, "auto_lambda"): outcome(50, tasks) for setting in (MULTI_TASK, "people")}
  found[MULTI_TASK, "auto_lambda, finite difference"] = outcome(50, tasks)
  auto_lambda_figures.draw(tmp_path, tasks, found, "auto_lambda, finite difference")
  for name in ("weights.png", "relations.png", "exact.png"):
    assert (tmp_path / name).stat().st_size
  auto_lambda_figures.draw(tmp_path / "nothing", tasks, {}, "")
