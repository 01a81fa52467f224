"""DGR: task losses with the gradient norms of frozen dummy heads, so that any head would do.

Methods with and without DGR, and beside them sharpness-aware minimisation (SAM) and pseudo-task
augmentation (PTA), against single-task training. Data:

- multi-digits, two overlaid digits with the tasks left, right, sum and parity (the default);
- UTKFace, with the tasks age (7 bins), gender and ethnicity, the paper's;
- images of one's own (docs/own_data.md): a folder with a sub-folder a class, or a table with a
  column of classes a task, labels perhaps missing.

The penalty's weight is the best of a sweep by the mean validation accuracy of equal weights with
DGR (first seed), or of each method (`--sweep-each`); the sweep's settings, numbers of dummies too,
are trained together, one run each.
Then encoders are frozen: a decision tree, an SVM and k nearest neighbours (with the defaults of
scikit-learn) learn each task from their features.

  python -m experiments.dgr                          # embedded; minutes on a CPU
  python -m experiments.dgr --methods equal dwa cagrad nash_mtl --weights 1e-4 1e-2 1
  python -m experiments.dgr --preset utkface --data-dir ~/UTKFace
  python -m experiments.dgr --preset paper --data-dir ~/UTKFace
  python -m experiments.dgr --dataset photos/labels.csv --image-size 64 --tasks kind chipped

Writes under `--workdir`: config.json, results.json, results.md (the tables), curves.png, cost.png
(gain against time), sweep.png, probes.png, tsne.png and, for each training, a folder with
metrics.jsonl, TensorBoard events, checkpoints, weights.safetensors and outcome.json, later
frozen.json and tsne.json, what its encoder gave. The same command goes on after a stop; what is
there already is neither trained nor measured again. Tables and figures are written anew after each
training. The last epoch is reported; nothing is chosen on the test set.

Reference: Shin, Do and Son, "Learning Representation for Multitask Learning through Self-Supervised
Auxiliary Learning", 2024.
"""
