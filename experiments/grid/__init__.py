"""A grid of architectures x methods x decoders, after the FastCAR paper's.

Every model learns the class of an image and a property of it, from the same images.

  python -m experiments.grid                       # digits with a mass, embedded; minutes
  python -m experiments.grid --architectures hps ltb --methods EW IMTL dwa+pcgrad --decoders 1
  python -m experiments.grid --preset paper --data-dir ~/steel     # 6 x 17 x 2 models, 224 px
  python -m experiments.grid --preset slice --data-dir ~/steel     # 3 x 4 models, 48 px, for a CPU

Only `--preset paper` has the paper's architectures, methods, decoders, network, images and recipe.
Whatever the preset, architectures are those of LibMTL, which the paper ran: cross-stitch units
start at ones; gates see every pixel; learning to branch begins with the sum of all parents for
epochs / 100 epochs, then draws one before each of the stages, outside of training too, at
temperature epochs / 20 / sqrt(epoch + 1), epochs counted from 0. Otherwise than LibMTL's, gates
start by weighing experts equally; MTAN's attention has a quarter of a map's channels inside and
bottlenecks between, also on ResNet-18; PLE's shared experts read their own values. GradDrop drops
signs of gradients of the encoder's map, as LibMTL does, where there is one for all tasks (hps), and
of those of parameters elsewhere, where LibMTL takes the gradients of each task's own map.

The paper trains on hardness as it is; `--standardise` divides it by its deviation, which the paper
leaves out. Methods have the paper's names, or are weightings, aggregators, or weighting+aggregator
of jaxmtl. The last epoch is reported; validation loss sets the learning rate where `--schedule
plateau`, and chooses nothing else; such a training can be made longer later.

Writes under `--workdir`: config.json, results.json, results.md, accuracy_decoder1.png,
mse_decoder1.png (and 2; the paper's Figs. 2 to 5) and, for each model, a folder with metrics.jsonl,
TensorBoard events, checkpoints, weights.safetensors and outcome.json. The same command goes on
after a stop; what is there already is not trained again. A model that diverges is reported as such.
Tables and figures are written anew after each model.

Reference: Kini et al., "FastCAR: Fast Classification And Regression Multi-Task Learning via Task
Consolidation for Modelling a Continuous Property Variable of Object Classes", 2024, sections 4.1 to
4.5.
"""
