"""What is learned: the next words of captions, answers and names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.prismer.config import SCENES, Config
from experiments.prismer.material import Material
from experiments.prismer.published import PRISMER
from experiments.prismer.texts import COUNT, IDS, LABELS, WEIGHT, images_of
from experiments.prismer.variants import Variant
from experiments.runner.job import Problem
from experiments.runner.measure import ratio
from jaxmtl import losses, training
from jaxmtl.data import experts as labels
from jaxmtl.data.experts.features import min_max
from jaxmtl.models import prismer
from jaxmtl.models.prismer.experts import stem_of

PyTree = Any
EXPERTS = "experts"


class Learned(NamedTuple):
  """A problem, and the network that solves it.

  Attributes:
    problem: for the runner.
    model: the network.
    trained: `params -> bools`, which of them learn.
  """

  problem: Problem
  model: prismer.Prismer
  trained: Any


def model_of(config: Config, variant: Variant, vocab_size: int) -> prismer.Prismer:
  """The network of a variant.

  Args:
    config: the options.
    variant: what is changed.
    vocab_size: of the tokenizer.
  """
  n = config.network
  channels = {stem_of(name): _channels(name) for name in variant.experts}
  channels |= dict.fromkeys(variant.noises, 1)
  common: dict[str, Any] = {
    "image_size": n.image_size,
    "experts": channels,
    "resampler_latents": variant.latents or n.resampler_latents,
    "resampler_layers": variant.layers or n.resampler_layers,
    "resampler_heads": n.resampler_heads,
    "vocab_size": vocab_size,
    "adaptors": variant.adaptors,
    "dropout": n.dropout,
    "dtype": None if n.precision == "float32" else jnp.dtype(n.precision),
    "remat": n.remat,
    "attention": n.attention,
  }
  if n.size != "tiny":
    make = {"base": prismer.Config.base, "large": prismer.Config.large}[n.size]
    return prismer.Prismer(make(**common))
  tiny = prismer.Config(
    patch_size=n.patch_size,
    vision_width=n.width,
    vision_layers=n.vision_layers,
    vision_heads=n.heads,
    text_width=n.width,
    text_layers=n.text_layers,
    text_heads=n.heads,
    text_mlp_width=4 * n.width,
    max_positions=128,
    **common,
  )
  return prismer.Prismer(tiny)


def _channels(name: str) -> int:
  return 64 if labels.KINDS[name].numbers else labels.KINDS[name].channels


def inputs(
  batch: Mapping[str, Any], tables: Mapping[str, np.ndarray], side: int
) -> dict[str, jax.Array]:
  """What `Prismer.encode` takes, from bytes at any size.

  Args:
    batch: images and labels as `ExpertFiles` gives them, and labels of experts of noise.
    tables: features of classes.
    side: of the network's images.
  """
  noises = {name: values for name, values in batch.items() if name.startswith("noise_")}
  batch = {name: values for name, values in batch.items() if name not in noises}
  if "size" in batch or batch["rgb"].shape[1:3] != (side, side):
    batch = labels.resize(batch, side)
  return {
    **labels.model_inputs(batch, tables),
    **{name: min_max(values) for name, values in noises.items()},
  }


def learned(config: Config, material: Material, variant: Variant) -> Learned:
  """The tasks of a network on one image after the other.

  Args:
    config: the options.
    material: the data.
    variant: which network.
  """
  model = model_of(config, variant, material.tokenizer.size)
  tasks, side = config.data.tasks, config.network.image_size
  freeze = variant.freeze or config.network.freeze
  smoothing = config.text.label_smoothing

  def trained(params: PyTree) -> PyTree:
    return prismer.trainable({"params": params}, freeze)

  def init(key: jax.Array, setting: Any) -> PyTree:
    del setting
    ids = jnp.ones((1, 1), jnp.int32)
    return dict(model.init(key, {"rgb": jnp.zeros((1, side, side, 3))}, ids, ids))

  def prepare(key: jax.Array, batch: Any) -> Any:
    of_images, of_texts = jax.random.split(key)
    images = images_of(batch)
    if config.optimizer.augment:
      images = labels.augment(of_images, images, side, area=config.optimizer.area)
    draws = jax.random.uniform(of_texts, (len(tasks), len(images["rgb"])))
    found: dict[str, Any] = {EXPERTS: inputs(images, material.tables, side)}
    for task, draw in zip(tasks, draws, strict=True):
      counts = batch[f"{task}/{COUNT}"]
      found[task] = _texts(batch, task, (draw * counts).astype(jnp.int32))
    return found

  def losses_fn(params: PyTree, model_state: PyTree, batch: Any, key: jax.Array) -> Any:
    # No gradient of what is frozen is computed, nor counted in the gradient's norm.
    variables = {"params": prismer.stop_frozen(params, trained(params)), **model_state}
    of_instances, *of_words = jax.random.split(key, 1 + len(tasks))
    tokens, moved = model.apply(
      variables,
      batch[EXPERTS],
      train=True,
      mutable=["batch_stats"],
      rngs={"instances": of_instances},
      method="encode",
    )
    values = []
    for task, own in zip(tasks, of_words, strict=True):
      texts = batch[task]
      logits: Any = model.apply(
        variables,
        *(texts[IDS], texts[IDS] != model.config.pad_token, tokens),
        train=True,
        rngs={"dropout": own},
        method="decode",
      )
      loss = losses.token_cross_entropy(logits, texts[LABELS], label_smoothing=smoothing)
      values.append((texts[WEIGHT] * loss).mean())
    return jnp.stack(values), training.Aux({**model_state, **moved})

  def predict(variables: PyTree, batch: Any) -> dict[str, Any]:
    tokens = model.apply(
      variables, inputs(images_of(batch), material.tables, side), method="encode"
    )
    found = {}
    for task in tasks:
      texts = _texts(batch, task, jnp.zeros(len(batch["rgb"]), jnp.int32))
      mask = texts[IDS] != model.config.pad_token
      logits: Any = model.apply(variables, texts[IDS], mask, tokens, method="decode")
      found[task] = losses.token_cross_entropy(logits, texts[LABELS], label_smoothing=0.0)
    return found

  problem = Problem(
    tasks=tasks,
    init=init,
    losses_fn=losses_fn,
    prepare=prepare,
    predict=predict,
    metrics={"loss": _loss(tasks)},
    # All tasks see the whole network; what is frozen has no gradient.
    shared=trained,
    describe=_describe(config, material, variant, model),
    measured_at_once=config.training.batch_size,
  )
  return Learned(problem, model, trained)


def _texts(batch: Any, task: str, choice: jax.Array) -> dict[str, jax.Array]:
  """One of the texts of each image."""
  rows = jnp.arange(len(choice))
  return {name: batch[f"{task}/{name}"][rows, choice] for name in (IDS, LABELS, WEIGHT)}


def _loss(tasks: tuple[str, ...]) -> training.Metric:
  """Cross-entropy of a word, without smoothing, in nats."""

  def count(outputs: Any, batch: Any) -> dict[str, Any]:
    found = {}
    for task in tasks:
      words = (batch[f"{task}/{LABELS}"][:, 0, 1:] >= 0).sum(-1)
      found[task] = {
        "loss": jnp.where(batch["valid"], outputs[task], 0).sum(),
        "words": jnp.where(batch["valid"], words, 0).sum(),
      }
    return found

  return training.Metric(
    count, lambda sums: ratio(sums["loss"], sums["words"]), lower_is_better=True
  )


def _describe(
  config: Config, material: Material, variant: Variant, model: prismer.Prismer
) -> dict[str, Any]:
  """What rebuilds the network and its prompts from its folder."""
  fields = {name: value for name, value in vars(model.config).items() if name != "dtype"}
  return {
    "model": PRISMER,
    "config": {**fields, "experts": dict(model.config.experts)},
    "experts": list(variant.experts),
    "tasks": list(config.data.tasks),
    "prefix": config.text.prefix,
    "question_length": material.question_length,
    "candidates": {task: list(texts) for task, texts in material.candidates.items()},
    "made_up": config.data.dataset == SCENES,
  }
