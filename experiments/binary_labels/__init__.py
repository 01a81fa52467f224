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
  python -m experiments.binary_labels --dataset photos/labels.csv --label-key kind --fraction 1

Images of one's own (docs/own_data.md) are a folder with a sub-folder a class, or a table; those
without a label in the column are left out.

Table 3 starts from a network that was trained on ImageNet: `--pretrained` takes a .pth or
.safetensors file of torchvision (resnet50, resnet101) or timm (vit_b16, beit_b16, mixer_b16), or
the folder of a run of ours, as in runs/binary_labels/baseline; heads start anew. The paper names 60
epochs and takes its other settings from Ridnik et al., 2021; rate and crops of the preset are ours.
Its data sets are Caltech-101 and FGVC-Aircraft, which TFDS does not have: `--dataset
fgvc_aircraft.npz`. Where a figure was published for data, network and task weights, it stands
beside the row.

The quick preset has few labels, 54 digits, and an auxiliary head of 8,849 parameters beside a
backbone of 7,184. Its data fraction (.02, .03, .05), rate (.01 to 1) and weights were chosen by
validation accuracy after the last epoch, seeds 100 to 102; steps, widths and code length were set
once. On other seeds, 120 to 135, and validation again, the binary code with weights .5 : .5 gained
2.2 points with 54 images (83.0 to 85.2 %, standard error .8), for which they were taken, and .2
(standard error .9) with 32: expect little of three seeds. The paper's large gains are where the
class alone is hardly learned (1.86 % with VGG-19 on 1 % of CIFAR-100); digits are learned to 100 %.
With 32 images and ten times the rate the class alone falls from 73 to 60 %, and with the code it
does not (71 to 74 %), but a smaller rate does as much for it.

Writes under `--workdir`: config.json, results.json, results.md, curves.png, cosine.png, labels.png
and, for each variant, a folder with metrics.jsonl, TensorBoard events, checkpoints,
weights.safetensors and outcome.json. The same command goes on after a stop; what is there already
is not trained again. Table and figures are written anew after each training.

Reference: "Multi Task Learning of Different Class Label Representations for Stronger Models".
"""
