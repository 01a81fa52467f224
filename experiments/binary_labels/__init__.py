"""Binary Labels: a random binary code of the class as an auxiliary task.

A network learns its main task, the class as a one-hot label, alone and together with an auxiliary
head that predicts a long binary code of the same class (or a vector of uniform numbers, the
comparator). The head is dropped after training: validation, test and weights.safetensors are of the
network without it.

  python -m experiments.binary_labels          # digits, embedded; a minute
  python -m experiments.binary_labels --preset paper --backbone vgg19 --data-dir ~/tfds    # Table 1
  python -m experiments.binary_labels --preset few --fraction 0.04 --data-dir ~/tfds       # Table 4
  python -m experiments.binary_labels --preset scratch --dataset cars196 --data-dir ~/tfds # Table 2
  python -m experiments.binary_labels --preset transfer --backbone resnet50 \
    --pretrained resnet50.pth --data-dir ~/tfds                                            # Table 3

Table 3 starts from a network that was trained on ImageNet: `--pretrained` takes a .pth or
.safetensors file of torchvision (resnet50, resnet101) or timm (vit_b16, beit_b16, mixer_b16), or
the folder of a run of ours, as in runs/binary_labels/baseline; heads start anew. The paper names 60
epochs and takes its other settings from Ridnik et al., 2021; rate and crops of the preset are ours.
Its data sets are Caltech-101 and FGVC-Aircraft, which TFDS does not have: `--dataset
fgvc_aircraft.npz`. Where a figure was published for data, network and task weights, it stands
beside the row.

QUICK

Writes under `--workdir`: config.json, results.json, results.md, curves.png, cosine.png, labels.png
and, for each variant, a folder with metrics.jsonl, TensorBoard events, checkpoints,
weights.safetensors and outcome.json. The same command goes on after a stop; what is there already
is not trained again. Table and figures are written anew after each training.

Reference: "Multi Task Learning of Different Class Label Representations for Stronger Models".
"""
