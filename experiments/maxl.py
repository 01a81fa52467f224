"""Meta auxiliary learning (MAXL): a second network invents the labels of an auxiliary task.

Its labels divide each class of the primary task; how finely says the hierarchy, psi. MAXL is
compared with single-task training and with labels that are random, clusters of an auto-encoder's
codes (K-Means), or given by people, where the data set has a finer level of classes.

  python -m experiments.maxl                 # digits, embedded: even or odd; minutes on a CPU
  python -m experiments.maxl --primary 10 --psi 2 3 5 --methods single maxl maxl_no_entropy
  python -m experiments.maxl --preset paper --data-dir ~/tfds                 # CIFAR-100
  python -m experiments.maxl --preset paper --data-dir ~/tfds --primary 3 \
    --psi total:10 total:20 total:100                           # three columns of Table 5.4
  python -m experiments.maxl --preset paper --data-dir ~/tfds --dataset mnist    # Table 5.3
  python -m experiments.maxl --preset complexity --data-dir ~/tfds               # Table 5.2

Several `--primary` levels are learned together, with auxiliary classes for each. All hierarchies
and seeds of a method are trained together. The last epoch is reported, none is chosen.

Writes under `--workdir`: config.json, results.json, results.md, curves.png, cosine.png (of
auxiliary and primary gradients), labels_in_use.png, tsne.png (features of test images), images.png
(most likely test images of generated classes) and, for each method, metrics.jsonl, TensorBoard
events and checkpoints, from which the same command goes on.

Reference: Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning",
2019; Liu, "Robust, Efficient and Generalisable Visual Representations" (thesis), chapter 5.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from experiments.common import command_line, write_config
from experiments.maxl_compare import compare, plan_comparison
from experiments.maxl_complexity import plan_complexity, study_complexity
from experiments.maxl_config import PRESETS, Config
from experiments.maxl_data import load_parts


def run(config: Config, workdir: str | pathlib.Path | None = None) -> dict[str, Any]:
  """Trains all methods (or combinations), and writes tables, figures and results.

  Args:
    config: the options.
    workdir: instead of `config.workdir`.

  Returns:
    What `results.json` holds: rows with the test accuracies in per cent by primary task and seed,
    the thesis's figure or None, and milliseconds a step of all runs together; for methods also the
    share of auxiliary classes in use in the last epoch and the cosine of auxiliary and primary
    gradient, mean over epochs.

  Raises:
    ValueError: for options that do not fit, before anything is compiled or written.
    FileNotFoundError: if the data are not there; the message says how to get them.
    training.TrainingDiverged: if a loss stops being finite.
  """
  config.check()
  parts, levels = load_parts(config)
  folder = pathlib.Path(workdir or config.workdir)
  if config.combinations:
    combinations = plan_complexity(config, levels)
    write_config(folder, config, replace=False)  # an earlier run's stays until this one got through
    rows = study_complexity(config, parts, combinations, folder)
  else:
    plan = plan_comparison(config, levels)
    write_config(folder, config, replace=False)
    rows = compare(config, parts, plan, folder)
  write_config(folder, config, replace=True)
  print(f"Results and figures are in {folder}.")
  return {"config": dataclasses.asdict(config), "results": rows}


def main(args: list[str] | None = None) -> None:
  """The command line."""
  command_line(run, PRESETS, "python -m experiments.maxl", args)


if __name__ == "__main__":
  main()
