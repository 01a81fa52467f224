"""Checkpoints from the published form to ours, and back."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from typing import Annotated, Any

import jax
import safetensors.numpy
import tyro

from experiments.prismer.published import LABELS, PRISMER, config_of, metadata_of
from experiments.prismer.weights import of_training
from experiments.runner.mesh import say
from jaxmtl import training
from jaxmtl.models import pretrained, prismer


@dataclasses.dataclass(frozen=True)
class Convert:
  """Reads a published checkpoint, or a training of ours, and writes one .safetensors file.

  Its tensors have the published names, so that the released program's load_state_dict takes them,
  and so do train, caption, ask and classify. Nothing that is in a pickle is executed.
  """

  source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE|FOLDER")]
  """pytorch_model.bin or .safetensors, or the folder of a training."""
  out: str
  """The file to write, .safetensors."""
  image_size: int | None = None
  """Resize the position embeddings for images of this size; None: they stay."""
  seed: int = 0
  """Which of the folder's runs, from 0."""


def convert(options: Convert) -> prismer.Config:
  """Converts, and prints what was read.

  Returns:
    The configuration of what was written.
  """
  source, out = (pathlib.Path(path).expanduser() for path in (options.source, options.out))
  if not source.exists():
    raise FileNotFoundError(f"there is no {source}.")
  if out.suffix != ".safetensors":
    raise ValueError(f"out must end in .safetensors, got {out}.")
  if not out.absolute().parent.is_dir():
    raise FileNotFoundError(f"out: there is no folder for {out}.")
  if source.is_dir():
    variables, described = of_training(source, options.seed)
    state, config = prismer.to_published(variables), prismer.Config(**described["config"])
    known = {LABELS: json.dumps(described["experts"])}
  else:
    state, metadata = pretrained.read_checkpoint(source), metadata_of(source)
    config = config_of(state, str(source), metadata)
    known = {LABELS: metadata[LABELS]} if LABELS in metadata else {}
  if options.image_size is not None:
    config = dataclasses.replace(config, image_size=options.image_size)
  variables = prismer.convert(state, config)  # every tensor is accounted for
  written = prismer.to_published(variables)
  fields = {name: value for name, value in vars(config).items() if name != "dtype"}
  told = json.dumps({**fields, "experts": dict(config.experts)})
  with training.replacing(out) as draft:
    safetensors.numpy.save_file(written, draft, metadata={PRISMER: told, **known})
  _tell(source, state, variables, config)
  say(f"{len(written)} tensors are in {out}.")
  return config


def _tell(
  source: pathlib.Path, state: dict[str, Any], variables: Any, config: prismer.Config
) -> None:
  """What was read: tensors by part, and sizes."""
  parts: collections.Counter[str] = collections.Counter()
  for name in state:
    parts[".".join(name.split(".")[:2])] += 1
  total = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  say(f"{source}: {len(state)} tensors, {total:,} parameters")
  for part, count in sorted(parts.items()):
    say(f"  {part}: {count}")
  experts = ", ".join(f"{name} ({n})" for name, n in config.experts.items()) or "none: PrismerZ"
  say(f"  experts (channels): {experts}")
  say(
    f"  images {config.image_size}, patches {config.patch_size}, vision {config.vision_width} x "
    f"{config.vision_layers}, text {config.text_width} x {config.text_layers}, vocabulary "
    f"{config.vocab_size}"
  )
