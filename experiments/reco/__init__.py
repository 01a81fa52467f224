"""ReCo: regional contrast for segmentation with few labels, with a mean teacher's pseudo-labels.

Supervised learning, CutOut, CutMix and ClassMix with a mean teacher, each with and without ReCo's
loss; of some images with all their labels, or of all images with some.

  python -m experiments.reco                                   # rooms, made up: minutes
  python -m experiments.reco --preset camvid --data-dir camvid
  python -m experiments.reco --preset cityscapes --data-dir cityscapes --labelled 20 50 150 0
  python -m experiments.reco --preset pascal --data-dir pascal --labelled --shares 0 .01 .05 .25
  python -m experiments.reco --ablations sampling              # table 4.5; others: figure 4.7
  python -m experiments.reco --predict mine.jpg                # what the last method says of it
  python -m experiments.reco --dataset folder_of_my_own --labelled 30

A method is supervised, mean_teacher, cutout, cutmix or classmix, perhaps `+reco`, each with options
of its own: `classmix:unlabelled=.1+reco:num_queries=64,queries=random`. Which images are labelled
is drawn by the seed, so that seeds differ in data, too. Test figures are of the teacher (of
supervised learning: the network) after the last epoch.

Writes under `--workdir`: config.json, results.json, results.md, curves.png (where there are
validation images), pictures.png, queries.png (confidence and hard queries), relations.png (how
alike classes are to the network, as graph and dendrogram), ablations.png and, for each training, a
folder with metrics.jsonl, TensorBoard events, checkpoints, weights.safetensors and outcome.json.
The same command goes on after a stop. Each training first compiles its step: a minute on a small
CPU for the rooms, several for a ResNet-50 or -101.

Reference: Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with Regional
Contrast", 2022; thesis of Liu, chapter 4.
"""
