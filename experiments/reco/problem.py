"""What is learned: classes of pixels, of labels and of a teacher's, and representations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.problems.maps import MapTask, map_metrics
from experiments.reco import augment
from experiments.reco.config import Config
from experiments.reco.methods import SEGMENTATION, Semi
from experiments.runner.job import Problem
from jaxmtl import contrast, losses, models, training

PyTree = Any
LABELLED, UNLABELLED = "labelled", "unlabelled"
BANK = "bank"
# Representations of each class that a step puts into the bank.
_PER_CLASS = 16


class Learned(NamedTuple):
  """A problem, and the network that the teacher has, too.

  Attributes:
    problem: for the runner.
    network: DeepLabV3+.
  """

  problem: Problem
  network: models.DeepLabV3Plus


def learned(config: Config, kind: MapTask, shape: tuple[int, ...], method: Semi) -> Learned:
  """The losses of a method as tasks.

  Args:
    config: the options.
    kind: the classes.
    shape: of the images.
    method: which losses there are.
  """
  options = config.segmentation
  dtype = None if options.precision == "float32" else jnp.dtype(options.precision)
  stride = {"output_stride": options.output_stride} if _has_stride(config) else {}
  backbone = config.network.build(dtype=dtype, **stride)
  network = models.DeepLabV3Plus(
    backbone,
    kind.outputs,
    options.dimension,
    features=options.features,
    rates=options.rates,
    dtype=dtype,
  )
  size = (*(options.crop or shape[:2]), 3)

  def init(key: jax.Array, setting: Any) -> PyTree:
    del setting
    made = network.init(key, jnp.zeros((2, *size)))
    if method.reco is not None and method.reco.bank:
      bank = contrast.feature_bank(kind.outputs, method.reco.bank, options.dimension)
      return {**made, BANK: bank._asdict()}
    return made

  def prepare(key: jax.Array, batch: Any) -> Any:
    of_labelled, of_unlabelled = jax.random.split(key)
    found = {LABELLED: augment.labelled(of_labelled, batch[LABELLED], options)}
    if UNLABELLED in batch:
      found[UNLABELLED] = augment.unlabelled(of_unlabelled, batch[UNLABELLED], options)
    return found

  def predict(variables: PyTree, batch: Any) -> dict[str, jax.Array]:
    outputs: Any = network.apply(variables, augment.normalised(batch["image"]))
    size = batch["image"].shape[1:3]
    return {SEGMENTATION: models.resize_aligned(outputs["classes"], size)}

  names = ["supervised"] + ["unsupervised"] * (method.mixing is not None)
  names += ["reco"] * (method.reco is not None)
  problem = Problem(
    tasks=tuple(names),
    init=init,
    losses_fn=_losses_fn(config, network, method),
    prepare=prepare,
    predict=predict,
    metrics=map_metrics({SEGMENTATION: kind}),
    measured_at_once=config.training.batch_size,
  )
  return Learned(problem, network)


def _has_stride(config: Config) -> bool:
  return hasattr(config.network.build(), "output_stride")


def _losses_fn(config: Config, network: models.DeepLabV3Plus, method: Semi) -> Any:
  strong = config.reco.strong_threshold if method.reco is None else method.reco.strong_threshold

  def losses_fn(params: PyTree, model_state: PyTree, batch: Any, key: jax.Array) -> Any:
    state = {name: tree for name, tree in model_state.items() if name != BANK}
    seen, given, values = [], [batch[LABELLED]], []
    if UNLABELLED in batch:
      given.append(batch[UNLABELLED])
    for one in given:
      outputs, updated = network.apply(
        {"params": params, **state}, one["image"], train=True, mutable=["batch_stats"]
      )
      state = {**state, **updated}
      seen.append(outputs)
    logits = [
      models.resize_aligned(outputs["classes"], one[SEGMENTATION].shape[1:])
      for outputs, one in zip(seen, given, strict=True)
    ]
    values.append(losses.cross_entropy(logits[0], given[0][SEGMENTATION], ignore=-1))
    if UNLABELLED in batch:
      pseudo, confidence = given[1][SEGMENTATION], given[1]["confidence"]
      values.append(
        losses.pseudo_label_cross_entropy(logits[1], pseudo, confidence, threshold=strong)
      )
    if method.reco is not None:
      value, model_state = _reco(config, method, seen, given, model_state, key)
      values.append(value)
    return jnp.stack(values), training.Aux({**model_state, **state})

  return losses_fn


def _reco(
  config: Config, method: Semi, seen: Any, given: Any, model_state: PyTree, key: jax.Array
) -> tuple[jax.Array, PyTree]:
  """ReCo's loss over all images of the step, at the representations' resolution."""
  options = method.reco
  assert options is not None
  of_draws, of_bank = jax.random.split(key)
  representations = jnp.concatenate([outputs["representation"] for outputs in seen])
  size = representations.shape[1:3]
  labels = jnp.concatenate([nearest(one[SEGMENTATION], size) for one in given])
  sure = [jnp.ones_like(one[SEGMENTATION], jnp.float32) for one in given[:1]]
  sure += [one["confidence"] for one in given[1:]]
  valid = jnp.concatenate([nearest(x, size) for x in sure]) >= options.weak_threshold
  probabilities = jax.nn.softmax(
    jnp.concatenate([outputs["classes"] for outputs in seen]).astype(jnp.float32)
  )
  bank = contrast.FeatureBank(**model_state[BANK]) if options.bank else None
  value = contrast.reco_loss(
    representations,
    labels=labels,
    valid=valid,
    probabilities=probabilities,
    key=of_draws,
    num_queries=options.num_queries,
    num_negatives=options.num_negatives,
    temperature=options.temperature,
    strong_threshold=options.strong_threshold,
    graph_temperature=options.graph_temperature,
    queries=options.queries,
    keys=options.keys,
    reduction=options.reduction,
    bank=bank,
  )
  if bank is not None:
    kept = jax.lax.stop_gradient(representations)
    new = contrast.update_bank(
      bank,
      kept,
      labels,
      valid,
      key=of_bank,
      per_class=min(_PER_CLASS, options.bank),
    )
    model_state = {**model_state, BANK: new._asdict()}
  return value, model_state


def nearest(maps: jax.Array, size: Sequence[int]) -> jax.Array:
  """Maps `[B, H, W]` at another size; pixel i of n shows pixel floor(i m / n) of m."""
  rows, columns = (
    jnp.arange(new) * old // new for new, old in zip(size, maps.shape[1:], strict=True)
  )
  return maps[:, rows[:, None], columns]


def network_only(variables: Mapping[str, PyTree]) -> dict[str, PyTree]:
  """What the network needs of a training state's variables."""
  return {name: tree for name, tree in variables.items() if name != BANK}
