"""Benchmark: methods of multi-task learning against each other and against single-task training.

Every method trains the same network from the same parameters on the same images in the same order,
with the same learning rate; single-task baselines, one network a task, are trained beside them.

  python -m experiments.benchmark                   # multi-digits, embedded; minutes on a CPU
  python -m experiments.benchmark --methods equal dwa pcgrad dwa+pcgrad --seeds 5
  python -m experiments.benchmark --preset full     # every method, a wider network, longer
  python -m experiments.benchmark --dataset mnist --data-dir ~/tfds --width 32

A method is a weighting, an aggregator, or `weighting+aggregator`. No epoch is chosen: the last one
is reported. The quick preset's learning rate is the best of .003, .01 and .03 by the validation
accuracy of equal weights and single tasks (seed 100); its batch size and epochs are what takes
minutes, and were set earlier with test accuracy in view too.

Writes under `--workdir`: config.json, results.json, results.md, heat_map.png, trade_off.png,
cost.png, curves.png and, for each method and each single task, a folder with metrics.jsonl,
TensorBoard events, checkpoints, weights.safetensors and outcome.json. The same command goes on
after a stop; what is there already is not trained again. Tables and figures are written anew after
each training.
"""
