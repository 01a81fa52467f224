"""MAXL's two phases: in each epoch the multi-task network learns, then the label network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax

from experiments.maxl.network import AUXILIARY, LABEL_STREAM, Networks
from experiments.runner.job import Phase, fresh_state
from jaxmtl import meta, training


@flax.struct.dataclass
class Both:
  """The states of the multi-task network and of the label network."""

  network: training.TrainState
  label: meta.LabelState


def phases(
  networks: Networks, step: training.TrainStep, entropy_weight: float
) -> tuple[tuple[Phase, Phase], Any]:
  """What an epoch consists of.

  Args:
    networks: both.
    step: of the multi-task network.
    entropy_weight: weight of the labels' negative entropy.

  Returns:
    The phases, and `start` of a job: `(phases, key, variables) -> Both`.
  """
  label_network = meta.maxl(
    networks.losses_fn,
    networks.generate_fn,
    networks.optimizer(),
    networks.label_optimizer(),
    primary=range(len(networks.primary)),
    entropy_weight=entropy_weight,
    name=AUXILIARY,
  )

  def learn(state: Both, batch: Any) -> tuple[Both, dict[str, Any]]:
    network, metrics = step.update(state.network, label_network.add_labels(state.label, batch))
    return dataclasses.replace(state, network=network), metrics

  def teach(state: Both, batch: Any) -> tuple[Both, dict[str, Any]]:
    label, found = label_network.update(state.label, state.network, batch)
    named = {"meta_loss": found["loss"], "entropy": found["entropy"]}
    return dataclasses.replace(state, label=label), named

  def start(update: Any, key: jax.Array, variables: Any) -> Both:
    del update
    own = {name: tree for name, tree in variables.items() if name != "label"}
    made = variables["label"]
    label = label_network.init(
      made["params"],
      # A pass in another order than the multi-task network's follows from another key.
      jax.random.fold_in(key, LABEL_STREAM),
      {"batch_stats": made.get("batch_stats", {}), "psi": made["psi"]},
    )
    return Both(fresh_state(step, key, own), label)

  return (Phase(learn, lambda s: s.network), Phase(teach, lambda s: s.label)), start


def both(
  weights: Callable[[Any], Any] | None,
) -> Callable[[Any], Any] | None:
  """First weights of one network as those of both."""
  if weights is None:
    return None
  return lambda variables: weights({**variables, "label": weights(variables["label"])})


def variables_of(state: Both) -> dict[str, Any]:
  """Both networks' variables, the label network's under `label`."""
  return {**training.variables_of(state.network), "label": training.variables_of(state.label)}
