"""Meta auxiliary learning (MAXL): a second network invents the labels of an auxiliary task.

Its labels divide each class of the primary task; how finely says the hierarchy, psi. MAXL is
compared with single-task training and with labels that are random, clusters of an auto-encoder's
codes (K-Means), or given by people, where the data set has a finer level of classes.

  python -m experiments.maxl                 # digits, embedded: even or odd; minutes on a CPU
  python -m experiments.maxl --primary 10 --psi 2 3 5 --methods single maxl maxl_no_entropy
  python -m experiments.maxl --preset paper --data-dir ~/tfds                 # CIFAR-100
  python -m experiments.maxl --preset paper --data-dir ~/tfds --primary 3 \
    --psi total:10 total:20 total:100                           # three columns of Table 5.4
  python -m experiments.maxl --preset regularised --data-dir ~/tfds              # Table 5.3
  python -m experiments.maxl --preset regularised --data-dir ~/tfds --dataset mnist --no-flip
  python -m experiments.maxl --preset complexity --data-dir ~/tfds               # Table 5.2

Several `--primary` levels are learned together, with auxiliary classes for each. All hierarchies
and seeds of a method are trained together. `--batch-size` is at most: batches are made equal, so
that an epoch sees (nearly) all images. The last epoch is reported, none is chosen; with more
`--epochs`, training goes on from where it ended.

Writes under `--workdir`: config.json, results.json, results.md, curves.png, cosine.png (of
auxiliary and primary gradients), filter_cosine.png (the mean of each filter's, as in the paper's
program; of one batch after each epoch, where that takes all), labels_in_use.png, tsne.png
(features of test images), images.png (most likely test images of generated classes) and, for each
method, a folder with metrics.jsonl, TensorBoard events, checkpoints, weights.safetensors and
outcome.json. The same command goes on after a stop; what is there already is not trained again.

Reference: Liu, Davison and Johns, "Self-Supervised Generalisation with Meta Auxiliary Learning",
2019; Liu, "Converging Pathways: Structured Visual Representations with Multi-Task Learning"
(thesis, 2024), chapter 5.
"""
