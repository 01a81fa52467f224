"""What torchvision and timm call the tensors of every backbone."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

State = dict[str, np.ndarray]


def _same(state: State) -> State:
  return state


class Scheme(NamedTuple):
  """One library's names for one architecture.

  Attributes:
    rename: from our name, such as `stage0_block1.conv_0.weight`, and the number of blocks of each
      stage, to the library's.
    clean: applied to a file's tensors: other spellings of the names, parameters that ours fold in.
    complete: applied to exported tensors: parameters that only the library has.
  """

  rename: Callable[[str, Sequence[int]], str]
  clean: Callable[[State], State] = _same
  complete: Callable[[State], State] = _same


def _swap(name: str, *pairs: tuple[str, str]) -> str:
  """Replace the first of the prefixes that fits."""
  for old, new in pairs:
    if name.startswith(old):
      return new + name.removeprefix(old)
  return name


def _resnet(name: str, sizes: Sequence[int]) -> str:
  name = re.sub(r"^stage(\d+)_block(\d+)", lambda m: f"layer{int(m[1]) + 1}.{m[2]}", name)
  name = re.sub(r"\bconv_(\d)", lambda m: f"conv{int(m[1]) + 1}", name)
  name = re.sub(r"\bnorm_(\d)", lambda m: f"bn{int(m[1]) + 1}", name)
  name = name.replace("conv_shortcut", "downsample.0").replace("norm_shortcut", "downsample.1")
  return _swap(name, ("stem_conv", "conv1"), ("stem_norm", "bn1"))


def _inside(state: State) -> State:
  """Torchvision's segmentation networks have the backbone as a part."""
  return {name.removeprefix("backbone."): value for name, value in state.items()}


def deeplab_name(name: str) -> str:
  """Torchvision's name for what our `DeepLabHead` calls, say, `aspp.rate_0_conv.weight`."""
  name = name.replace("mean_conv", "convs.4.1").replace("mean_norm", "convs.4.2")
  name = name.replace("point", "convs.0").replace("project", "classifier.0.project")
  name = re.sub(r"rate_(\d)", lambda m: f"convs.{int(m[1]) + 1}", name)
  name = name.replace("_conv", ".0").replace("_norm", ".1")
  name = _swap(name, ("mix.0", "classifier.1"), ("mix.1", "classifier.2"), ("last", "classifier.4"))
  return name.replace("aspp.convs", "classifier.0.convs").removeprefix("aspp.")


def _sequential(name: str, sizes: Sequence[int]) -> str:
  """A flat sequence of convolution, normalization and ReLU, and a pooling after every stage."""

  def position(match: re.Match) -> str:
    stage, block = int(match[2]), int(match[3] or 0)
    return f"features.{3 * (sum(sizes[:stage]) + block) + stage + (match[1] == 'norm')}"

  return re.sub(r"^(conv|norm)(\d+)(?:_(\d+))?", position, name)


def _fold_biases(state: State) -> State:
  """A convolution's bias is a shift of the running mean of the normalization behind it."""
  state = dict(state)
  for name in [n for n in state if re.fullmatch(r"features\.\d+\.weight", n)]:
    number, bias = int(name.split(".")[1]), name.replace("weight", "bias")
    mean = f"features.{number + 1}.running_mean"
    if state[name].ndim == 4 and bias in state and mean in state:
      state[mean] = state[mean] - state.pop(bias)
  return state


def _zero_biases(state: State) -> State:
  kernels = {name: value for name, value in state.items() if value.ndim == 4}
  zeros = {n.replace("weight", "bias"): np.zeros(len(v), v.dtype) for n, v in kernels.items()}
  return state | zeros


def _flat_blocks(name: str, sizes: Sequence[int], prefix: str) -> str:
  """Blocks numbered through all stages."""
  return re.sub(
    r"^stage(\d+)_block(\d+)", lambda m: f"{prefix}{sum(sizes[: int(m[1])]) + int(m[2])}", name
  )


def _timm_vit(name: str, sizes: Sequence[int]) -> str:
  name = _swap(name, ("embed.patch.", "patch_embed.proj."), ("embed.", ""))
  return _flat_blocks(name, sizes, "blocks.")


def _timm_mixer(name: str, sizes: Sequence[int]) -> str:
  return _flat_blocks(_swap(name, ("patch.", "stem.proj.")), sizes, "blocks.")


def _torchvision_vit(name: str, sizes: Sequence[int]) -> str:
  name = _swap(
    name,
    ("embed.patch.", "conv_proj."),
    ("embed.cls_token", "class_token"),
    ("embed.pos_embed", "encoder.pos_embedding"),
    ("norm.", "encoder.ln."),
  )
  name = _flat_blocks(name, sizes, "encoder.layers.encoder_layer_")
  name = re.sub(r"\.norm(\d)\.", r".ln_\1.", name)
  name = name.replace("attn.qkv.", "self_attention.in_proj_")
  name = name.replace("attn.proj.", "self_attention.out_proj.")
  return name.replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.3.")


def _rename_linear(state: State) -> State:
  """Torchvision's files of 2021 number the perceptrons' layers otherwise."""

  def rename(name: str) -> str:
    return name.replace("mlp.linear_1.", "mlp.0.").replace("mlp.linear_2.", "mlp.3.")

  return {rename(name): value for name, value in state.items()}


def _timm_swin(name: str, sizes: Sequence[int]) -> str:
  name = re.sub(r"^stage(\d+)_block(\d+)", r"layers.\1.blocks.\2", name)
  name = re.sub(r"^stage(\d+)_merge", r"layers.\1.downsample", name)
  return _swap(name, ("patch.", "patch_embed.proj."), ("patch_norm.", "patch_embed.norm."))


def _move_downsample(state: State) -> State:
  """The authors' files, and timm's before 2023, count a merging layer to the stage before it."""
  if not any(name.startswith("layers.0.downsample.") for name in state):
    return state

  def rename(name: str) -> str:
    return re.sub(r"^layers\.(\d)\.d", lambda m: f"layers.{int(m[1]) + 1}.d", name)

  return {rename(name): value for name, value in state.items()}


def _torchvision_swin(name: str, sizes: Sequence[int]) -> str:
  name = re.sub(r"^stage(\d+)_block", lambda m: f"features.{2 * int(m[1]) + 1}.", name)
  name = re.sub(r"^stage(\d+)_merge", lambda m: f"features.{2 * int(m[1])}", name)
  name = _swap(name, ("patch.", "features.0.0."), ("patch_norm.", "features.0.2."))
  return name.replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.3.")


_RESNET = {"torchvision": Scheme(_resnet, _inside), "timm": Scheme(_resnet)}
_SEQUENTIAL = dict.fromkeys(
  ("torchvision", "timm"), Scheme(_sequential, _fold_biases, _zero_biases)
)
SCHEMES: dict[str, dict[str, Scheme]] = {
  "convnet4": _SEQUENTIAL,
  "vgg16": _SEQUENTIAL,
  "vgg19": _SEQUENTIAL,
  "resnet18": _RESNET,
  "resnet18_small": _RESNET,
  "resnet32": _RESNET,
  "resnet50": _RESNET,
  "resnet101": _RESNET,
  "resnet110": _RESNET,
  "resnext50": _RESNET,
  "vit_b16": {
    "timm": Scheme(_timm_vit),
    "torchvision": Scheme(_torchvision_vit, _rename_linear),
  },
  "beit_b16": {"timm": Scheme(_timm_vit)},
  "mixer_b16": {"timm": Scheme(_timm_mixer)},
  "swin_t": {
    "timm": Scheme(_timm_swin, _move_downsample),
    "torchvision": Scheme(_torchvision_swin),
  },
}

# Tensors that no prediction needs: counters, indices that follow from sizes, help while training.
IGNORED = (
  r"(.*\.)?num_batches_tracked",
  r"(.*\.)?(relative_position_index|attn_mask)",
  r"aux_classifier\..*",
  r"mask_token",
)
CLASSIFIERS = (r"(fc|head|heads|head_dist|linear|classifier|pre_logits)\..*",)
DEEPLAB_LAST = (r"classifier\.4\..*",)
