"""Dense prediction: classes, depth and normals of every pixel, as in the Auto-lambda paper.

One network (the paper's Split, or MTAN) learns several maps at once, by any weighting and
aggregator, beside one network a task; in auxiliary learning one task is primary and the others are
to help it. With `--noise` a task of pure noise is among them; with `--dgr-weight` each method is
trained with DGR's penalty, too.

  python -m experiments.dense_prediction                 # rooms, made up; minutes on a CPU
  python -m experiments.dense_prediction --architecture mtan --methods equal auto_lambda+cagrad
  python -m experiments.dense_prediction --primaries segmentation --noise
  python -m experiments.dense_prediction --predict photos  # what the trained network says of them
  python -m experiments.dense_prediction --preset rooms   # larger, all methods; hours on a CPU
  python -m experiments.dense_prediction --preset nyuv2 --data-dir ~/nyuv2
  python -m experiments.dense_prediction --preset nyuv2 --data-dir ~/nyuv2 --dgr-weight 1e-6
  python -m experiments.dense_prediction --preset pascal --data-dir ~/PASCAL_MT --pretrained r18.pth

Segmentation is judged by the mean intersection over union, depth by the absolute error, normals by
the angle, the latter two averaged over batches of `--batch-size` as the released program does
(`absolute_error_by_pixel` in results.json is the mean over all pixels). PASCAL's saliency is judged
by the mean of the images' intersection over union at the best of 15 thresholds, its edges by the
F-measure at the best of 99 (odsF), where an edge counts that is within .0075 of the image's
diagonal of another: see jaxmtl.metrics.edge_counts for how this differs from the benchmark.

Writes under `--workdir`: config.json, results.json, results.md (the tables), weights.png,
relations.png, exact.png, cost.png, pictures.png (test images with predictions, labels and errors)
and, for each training, a folder with metrics.jsonl, checkpoints, weights.safetensors and
outcome.json. The same command goes on after a stop; what is there already is not trained again. The
last epoch is reported; nothing is chosen on the test images.

Reference: Liu, James, Davison and Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships",
2022; Liu, "Converging Pathways: Structured Visual Representations with Multi-Task Learning"
(thesis, 2024), chapter 3; of DGR Shin, Do and Son, "Learning Representation for Multitask Learning
through Self-Supervised Auxiliary Learning", 2024, section 4.4.
"""
