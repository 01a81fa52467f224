"""Auto-lambda: task weights learned from what a look-ahead step does to the primary tasks.

Multi-task learning, where all tasks but noise are primary, and auxiliary learning, where one is and
the others are to help it, on four kinds of data:

- multi-digits, two overlaid digits with the tasks left, right, sum, parity and noise (the default);
- CIFAR-100 as 20 domains of five classes, a batch of its own each (`experiments.problems.domains`);
- CelebA's 40 binary attributes;
- images of one's own (docs/own_data.md): a folder with a sub-folder a class, or a table with a
  column a task, each judged by its own metric, errors counting downwards in Delta_MTL.

Auto-lambda is compared with single-task training, with weightings that know no primary task, and in
auxiliary learning with gradient cosine similarity (GCS).

  python -m experiments.auto_lambda                  # embedded; minutes on a CPU
  python -m experiments.auto_lambda --methods equal auto_lambda auto_lambda+pcgrad --primaries sum
  python -m experiments.auto_lambda --dataset mnist --data-dir ~/tfds --width 32
  python -m experiments.auto_lambda --preset cifar100 --data-dir ~/tfds
  python -m experiments.auto_lambda --preset celeba --data-dir ~/tfds
  python -m experiments.auto_lambda --dataset photos/labels.csv --image-size 64 --primaries kind

Learned weights are not constrained: where one falls below zero, its task's loss is ascended. The
report names each that did; a lower `--weight-learning-rate` or more epochs mend it.

Writes under `--workdir`: config.json, results.json, results.md (the tables), weights.png (through
training, for each choice of primary tasks), relations.png (last weights: which task helps which),
exact.png (weights of exact against approximate gradients), cost.png (the mean accuracy, or
Delta_MTL, against the time of a step: figure 3.10) and, for each run, a folder with
metrics.jsonl, TensorBoard events, checkpoints, weights.safetensors and outcome.json. The same
command goes on after a stop; what is there already is not trained again. Tables and figures are
written anew after each training. The last epoch is reported; nothing is chosen.

Reference: Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships",
2022; Liu, "Converging Pathways: Structured Visual Representations with Multi-Task Learning"
(thesis, 2024), chapter 3.
"""
