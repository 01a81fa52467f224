"""Options of Prismer's trainings."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Literal

from experiments.prismer.variants import FREEZING, FULL, PLAIN, Variant
from experiments.runner.config import RunOptions, TrainingOptions, check_positive, override
from experiments.runner.methods import Method
from jaxmtl.data import SCENE_EXPERTS
from jaxmtl.data.experts import KINDS

SCENES = "scenes"
PUBLISHED = ("depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection")
TASKS = {
  SCENES: ("caption", "vqa"),
  "karpathy": ("caption",),
  "coco": ("caption",),
  "pretrain": ("caption",),
  "vqav2": ("vqa",),
  "imagenet": ("classify",),
}
"""What is learned of each data set; of a table of one's own, captions."""
_TABLES = (".csv", ".tsv", ".json")
_ABLATIONS: dict[str, tuple[str, ...]] = {
  # Each alone, then one more each time.
  "experts": (
    PLAIN,
    *(f"{FULL}:experts={e}" for e in ("edge", "depth", "seg", "edge+depth", "edge+depth+seg")),
    FULL,
  ),
  "quality": (PLAIN, *(f"{FULL}:corrupt={share}" for share in (1.0, 0.75, 0.5, 0.25)), FULL),
  "noise": (PLAIN, *(f"{PLAIN}:noise={n}" for n in (1, 2)), FULL, f"{FULL}:noise=2"),
  "design": (
    FULL,
    f"{FULL}:adaptors=False",
    *(f"{FULL}:layers={n}" for n in (1, 4)),
    *(f"{FULL}:latents={n}" for n in (4, 32)),
    *(f"{FULL}:freeze={mode}" for mode in FREEZING[1:]),
  ),
}


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """Images, texts, experts' labels."""

  dataset: str = SCENES
  """scenes, made up; karpathy (a folder with dataset_*.json and Images), coco, vqav2, imagenet or
  pretrain in the release's layout, found under data_dir; or a table of captions of one's own, .csv,
  .tsv or .json with image, caption and split."""
  data_dir: str | None = None
  """The folder of the data set."""
  labels: str | None = None
  """Folder of experts' labels, <labels>/<expert>/<set>/<image>.png; python -m experiments.prismer
  experts fills one."""
  experts: tuple[str, ...] = tuple(SCENE_EXPERTS)
  """Whose labels are read."""
  features: str | None = None
  """Folder with features of classes, <expert>.npy [classes, 64] or [classes + 1, 64] with the
  background's, for seg_coco, seg_ade and obj_detection; for seg always with the background's."""
  train_images: int = 1500
  """Learned from, at most; 0: all."""
  test_images: int = 200
  """Measured at the end, at most; 0: all."""
  validation_images: int = 100
  """For curves, at most; 0: all."""
  most_digits: int = 2
  """In a scene, from 1 to 6."""
  pretraining: tuple[Literal["coco", "vg", "cc12m", "cc3m_sgu"], ...] = ("coco", "vg", "cc12m")
  """Sets of pretrain."""
  shots: int | None = None
  """Images of a class of imagenet to learn from; None: all."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    table = pathlib.Path(self.dataset).suffix.lower() in _TABLES
    if self.dataset not in TASKS and not table:
      raise ValueError(
        f"dataset must be {', '.join(TASKS)} or a table of captions ({', '.join(_TABLES)}), got "
        f"{self.dataset!r}."
      )
    if self.dataset in TASKS and self.dataset != SCENES and self.data_dir is None:
      raise ValueError(f"data_dir must name the folder of {self.dataset}, got None.")
    for name in ("data_dir", "labels", "features"):
      if self.dataset == SCENES and getattr(self, name) is not None:
        raise ValueError(f"{name} is not for scenes, which are made up; name a --dataset.")
    for name in ("train_images", "test_images", "validation_images"):
      least = 1 if self.dataset == SCENES else 0
      if getattr(self, name) < least:
        raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
    if not 1 <= self.most_digits <= 6:
      raise ValueError(f"most_digits must be from 1 to 6, got {self.most_digits}.")
    known = tuple(SCENE_EXPERTS) if self.dataset == SCENES else tuple(KINDS)
    if unknown := [name for name in self.experts if name not in known]:
      raise ValueError(f"experts {unknown} are not known; there are {', '.join(known)}.")
    if len(set(self.experts)) < len(self.experts):
      raise ValueError(f"experts must be different ones, got {', '.join(self.experts)}.")

  @property
  def tasks(self) -> tuple[str, ...]:
    """What is learned of it."""
    return TASKS.get(self.dataset, ("caption",))


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
  """Sizes of the network, and what it starts from."""

  size: Literal["tiny", "base", "large"] = "tiny"
  """tiny: by the options below; base: ViT-B/16 and RoBERTa base; large: ViT-L/14, RoBERTa large."""
  image_size: int = 48
  """Height and width of the images, in pixels."""
  patch_size: int = 8
  """Of tiny."""
  width: int = 64
  """Channels of tiny, a multiple of 8 and of heads."""
  heads: int = 4
  """Of tiny."""
  vision_layers: int = 2
  """Of tiny."""
  text_layers: int = 2
  """Of tiny, beside one without cross-attention."""
  resampler_latents: int = 16
  """Tokens into which all experts' labels go; 64 as published."""
  resampler_layers: int = 2
  """4 as published."""
  resampler_heads: int = 4
  """8 as published."""
  dropout: float = 0.0
  """In the text decoder; 0.1 as published. Each of its draws takes a second to compile."""
  freeze: Literal["none", "freeze_lang", "freeze_vision", "freeze_lang_vision"] = "none"
  """Which backbones stay as they are: both in published pre-training, vision in fine-tuning."""
  precision: Literal["float32", "bfloat16"] = "float32"
  """Of the network's arithmetic; parameters and losses stay in float32."""
  remat: bool = False
  """Less memory, about a third more time."""
  attention: Literal["xla", "cudnn"] | None = None
  """cudnn: flash attention on a GPU, in bfloat16."""
  checkpoint: str | None = None
  """Start from a published file, pytorch_model.bin or .safetensors, or a folder of a training of
  ours."""
  clip: str | None = None
  """Start from CLIP's visual tower, a file by OpenAI's or Hugging Face's names; with --roberta."""
  roberta: str | None = None
  """Start from RoBERTa, a file by Hugging Face's names; with --clip."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "image_size", "patch_size", "width", "heads", "vision_layers")
    check_positive(self, "text_layers", "resampler_latents", "resampler_layers", "resampler_heads")
    if self.width % 8 or self.width % self.heads or self.width % self.resampler_heads:
      raise ValueError(
        f"width must be a multiple of 8, heads and resampler_heads, got {self.width} with "
        f"{self.heads} and {self.resampler_heads}."
      )
    if self.size == "tiny" and self.image_size < self.patch_size:
      raise ValueError(
        f"image_size must be at least patch_size={self.patch_size}, got {self.image_size}."
      )
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}.")
    if (self.clip is None) != (self.roberta is None):
      raise ValueError("clip and roberta go together; give both or none.")
    if self.checkpoint is not None and self.clip is not None:
      raise ValueError("checkpoint has all weights; leave clip and roberta out.")
    for name in ("checkpoint", "clip", "roberta"):
      path = getattr(self, name)
      if path is not None and not pathlib.Path(path).expanduser().exists():
        raise FileNotFoundError(f"{name}: there is no {path}.")
      if path is not None and name != "checkpoint" and pathlib.Path(path).expanduser().is_dir():
        raise ValueError(
          f"{name} must be a file, pytorch_model.bin or model.safetensors; {path} is a folder."
        )


@dataclasses.dataclass(frozen=True)
class TextOptions:
  """How texts are split, and how captions and answers are made."""

  vocabulary: str | None = None
  """Folder with vocab.json and merges.txt, such as RoBERTa's; None: that of a training that
  --checkpoint names, or made of the training texts."""
  vocab_size: int = 400
  """Of a vocabulary that is made, at most."""
  prefix: str = "A picture of"
  """Before captions; "" as in pre-training."""
  max_tokens: int = 30
  """Most pieces of a caption, with its prefix."""
  beams: int = 3
  """Captions that are followed at a time when one is made; 1: the best word each time."""
  max_length: int = 20
  """Most pieces of a caption that is made, with its prefix."""
  min_length: int = 8
  """Fewest."""
  length_penalty: float = 1.0
  """Larger ones favour longer captions."""
  answers: Literal["rank", "generate"] = "rank"
  """Answers are chosen from a list, or made word by word."""
  rank: int = 16
  """Answers of the list, by their first word, that are looked at in full."""
  label_smoothing: float = 0.1
  """Of the loss."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    check_positive(self, "beams", "max_length", "rank", "max_tokens")
    if self.vocabulary is None and self.vocab_size < 261:
      raise ValueError(f"vocab_size must be at least 261, the bytes, got {self.vocab_size}.")
    if not 0 <= self.label_smoothing < 1:
      raise ValueError(
        f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}."
      )
    if not 0 <= self.min_length <= self.max_length:
      raise ValueError(
        f"min_length must be from 0 to max_length={self.max_length}, got {self.min_length}."
      )
    if not math.isfinite(self.length_penalty):
      raise ValueError(f"length_penalty must be finite, got {self.length_penalty}.")


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
  """AdamW; its rate rises from 1e-6 in the first steps, then falls as a cosine."""

  weight_decay: float = 0.05
  warmup_steps: int = 100
  lowest_rate: float = 1e-6
  """At the end."""
  schedule: Literal["step", "epoch"] = "step"
  """When the rate falls: at each step (as published for captions and classes) or at each epoch (for
  pre-training and questions)."""
  augment: bool = False
  """Whether training images are cropped, mirrored and changed by RandAugment, with their labels.
  Not for scenes, whose texts say left and right."""
  area: tuple[float, float] = (0.5, 1.0)
  """Share of the image that a crop has; (0.5, 1.5) in pre-training."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for name in ("weight_decay", "warmup_steps", "lowest_rate"):
      if not getattr(self, name) >= 0:
        raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
    if not 0 < self.area[0] <= self.area[1]:
      raise ValueError(f"area must be two shares above 0, got {self.area}.")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment; the preset sets the defaults of all others."""

  preset: Literal["quick", "flickr8k", "pretrain", "caption", "vqa", "classify"] = "quick"
  """quick: scenes, made up, a tiny network from scratch, minutes; flickr8k: the same on photographs
  with captions; pretrain, caption, vqa and classify: the paper's networks and recipes."""
  variants: tuple[str, ...] = (PLAIN, FULL)
  """prismerz (no experts), prismer, perhaps with options: experts=depth+edge, corrupt=.5 (a share
  of all labels is noise), noise=2 (experts more that say nothing), adaptors=False, latents=,
  layers= (of the resampler), freeze=."""
  methods: tuple[str, ...] = ("equal",)
  """Weightings and aggregators of the tasks' losses, each with all variants: equal, dwa, pcgrad,
  ..."""
  ablations: tuple[Literal["experts", "quality", "noise", "design"], ...] = ()
  """Further variants: the paper's figures 6.5 a, b, c and table 6.7."""
  data: DataOptions = DataOptions()
  network: NetworkOptions = NetworkOptions()
  text: TextOptions = TextOptions()
  training: TrainingOptions = TrainingOptions(epochs=12, batch_size=32, learning_rate=2e-3)
  optimizer: OptimizerOptions = OptimizerOptions()
  run: RunOptions = RunOptions(seeds=2, workdir="runs/prismer")

  def check(self) -> dict[str, Variant]:
    """The variants by name; raises ValueError, naming the option, where one does not fit."""
    for part in (self.data, self.network, self.text, self.training, self.optimizer, self.run):
      part.check()
    if not self.variants:
      raise ValueError("variants must name at least one, got none.")
    if not self.methods:
      raise ValueError("methods must name at least one, got none.")
    for method in self.methods:
      Method.parse(method)
    if self.optimizer.augment and self.data.dataset == SCENES:
      raise ValueError("augment is not for scenes, whose texts say left and right.")
    if self.data.dataset != SCENES and self.data.labels is None and self._needs_labels:
      raise ValueError(
        f"labels must name the folder of experts' labels for {FULL}, got None; {PLAIN} needs none."
      )
    self._check_vocabulary()
    return {name: Variant.parse(name, self.data.experts) for name in self.all_variants}

  def _check_vocabulary(self) -> None:
    """Pieces have the numbers with which the weights of a file were trained."""
    for name in ("checkpoint", "roberta"):
      path = getattr(self.network, name)
      own = path is not None and pathlib.Path(path).expanduser().is_dir()
      if path is not None and not own and self.text.vocabulary is None:
        raise ValueError(
          f"vocabulary must name the folder with vocab.json and merges.txt with which {name} "
          f"{path} was trained, got None."
        )

  @property
  def all_variants(self) -> tuple[str, ...]:
    """With those of the ablations, each once."""
    further = [name for ablation in self.ablations for name in _ABLATIONS[ablation]]
    return tuple(dict.fromkeys((*self.variants, *further)))

  def of_ablation(self, ablation: str) -> tuple[str, ...]:
    """The variants of an ablation."""
    return _ABLATIONS[ablation]

  @property
  def _needs_labels(self) -> bool:
    return any(name.partition(":")[0] == FULL for name in self.all_variants)

  def describe(self) -> str:
    """For the title of a table."""
    n, made = self.network, self.data.dataset == SCENES
    images = f"{self.data.train_images} scenes" if made else f"Images of {self.data.dataset}"
    size = f"width {n.width}" if n.size == "tiny" else n.size
    return (
      f"{images}, {n.image_size} pixels, Prismer of {size}, {self.training.epochs} epochs, "
      f"{self.run.seeds} seed(s)"
    )


_PAPER = override(
  Config(),
  **{"size": "base", "resampler_latents": 64, "resampler_layers": 4, "resampler_heads": 8},
  **{"width": 768, "heads": 12, "experts": PUBLISHED, "variants": (FULL,), "seeds": 1},
  **{"train_images": 0, "test_images": 0, "validation_images": 500, "augment": True},
  **{"precision": "bfloat16", "remat": True, "checkpoint_every": "1", "warmup_steps": 0},
  **{"lowest_rate": 0.0, "learning_rate": 5e-5, "freeze": "freeze_vision", "dropout": 0.1},
)
PRESETS = {
  "quick": Config(),
  "flickr8k": override(
    Config(),
    **{"preset": "flickr8k", "dataset": "karpathy", "variants": (PLAIN,), "experts": ("edge",)},
    **{"train_images": 0, "test_images": 0, "validation_images": 200, "image_size": 64},
    **{"width": 128, "dropout": 0.1, "vocab_size": 4000, "augment": True, "epochs": 30, "seeds": 1},
    **{"learning_rate": 1e-3, "batch_size": 64, "warmup_steps": 300},
    **{"workdir": "runs/prismer_flickr8k"},
  ),
  "pretrain": override(
    _PAPER,
    **{"preset": "pretrain", "dataset": "pretrain", "image_size": 224, "prefix": ""},
    **{"freeze": "freeze_lang_vision", "epochs": 20, "batch_size": 1024, "learning_rate": 3e-4},
    **{"warmup_steps": 2000, "lowest_rate": 1e-6, "schedule": "epoch", "area": (0.5, 1.5)},
    **{"workdir": "runs/prismer_pretrain"},
  ),
  "caption": override(
    _PAPER,
    **{"preset": "caption", "dataset": "coco", "image_size": 480, "epochs": 3},
    **{"batch_size": 256, "workdir": "runs/prismer_caption"},
  ),
  "vqa": override(
    _PAPER,
    **{"preset": "vqa", "dataset": "vqav2", "image_size": 480, "epochs": 10, "batch_size": 512},
    **{"schedule": "epoch", "workdir": "runs/prismer_vqa"},
  ),
  "classify": override(
    _PAPER,
    **{"preset": "classify", "dataset": "imagenet", "image_size": 384, "epochs": 20, "shots": 1},
    **{"batch_size": 64, "rank": 32, "workdir": "runs/prismer_classify"},
  ),
}
