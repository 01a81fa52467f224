"""Trains Prismer and PrismerZ; other commands: caption, ask, classify, experts, convert.

One network of several tasks, captions and questions about the same images, by any weighting or
aggregator: from the images and what expert networks say of them (Prismer), or without (PrismerZ).

  python -m experiments.prismer                                # scenes, made up: minutes
  python -m experiments.prismer train --ablations experts quality noise design
  python -m experiments.prismer train --preset flickr8k --data-dir flickr8k
  python -m experiments.prismer train --preset caption --data-dir coco --labels labels
    --features features --vocabulary roberta --checkpoint pytorch_model.bin
  python -m experiments.prismer caption mine.jpg photos --checkpoint runs/prismer/prismer
  python -m experiments.prismer ask "What color is it?" mine.jpg --checkpoint ...
  python -m experiments.prismer classify mine.jpg --names cat dog --checkpoint ...
  python -m experiments.prismer experts photos --out labels --experts edge
  python -m experiments.prismer convert pytorch_model.bin --out prismer.safetensors

Each command has a --help of its own. A training without a command is `train`. After the last epoch
all networks caption the test images and answer its questions; nothing is chosen by the test part.

Writes under `--workdir`: config.json, results.json, results.md, curves.png, pictures.png (what
networks and people say, and experts' labels), attention.png (where the resampler looks),
ablation_*.png and, for each training, a folder with metrics.jsonl, TensorBoard events, checkpoints,
weights.safetensors, outcome.json, texts.json (what it says of the test part, with scores), results
in the servers' form, its vocabulary and the features of classes.

Reference: Liu, Fan, Johns, Yu, Xiao and Anandkumar, "Prismer: A Vision-Language Model with
Multi-Task Experts", 2024; thesis of Liu, chapter 6.
"""
