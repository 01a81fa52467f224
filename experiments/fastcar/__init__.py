"""FastCAR: class and property of an image in one hybrid label, learned by a single regression.

It stands beside plain multi-task learning (a shared backbone, cross-entropy and squared error with
equal weights), the same with standardised targets, which the paper leaves out, and two baselines
without a network: the training set's mean, and the training mean of the true class.

  python -m experiments.fastcar                    # digits with a mass, embedded; a minute
  python -m experiments.fastcar --preset paper --data-dir ~/steel     # the paper's recipe, 224 px
  python -m experiments.fastcar --preset steel --data-dir ~/steel     # 96 px, 20 epochs: for a CPU
  python -m experiments.fastcar --preset steel --data-dir ~/steel --split grouped \
    --workdir runs/fastcar_grouped                 # no micrograph in two parts

Before FastCAR is trained, its one-epoch test may change the labels (`--adjust`): all seeds are
trained for an epoch, and the mean gradient of the first one decides. Training goes on from that
epoch. The last epoch is reported; validation loss sets the learning rate where `--schedule
plateau`, and chooses nothing else; such a training can be made longer later. In steel's published
split almost all validation images come from micrographs that are in training too, so that it says
little about new ones. The steel preset turns and mirrors images at random, which the paper does
not: validation prefers it, and `--no-augment` takes it back. The quick preset's learning rate is
the best of .001, .003 and .01 by the validation loss of every model (20 epochs, seed 0).

Writes under `--workdir`: config.json, results.json, results.md, predictions.png, ranges.png,
curves.png and, for each model and each trial of a one-epoch test, a folder with metrics.jsonl,
TensorBoard events, checkpoints, weights.safetensors and outcome.json. The same command goes on
after a stop; what is there already is not trained again. Tables and figures are written anew after
each training.

Reference: Kini et al., "FastCAR: Fast Classification And Regression Multi-Task Learning via Task
Consolidation for Modelling a Continuous Property Variable of Object Classes", 2024.
"""
