"""What is looked at after each epoch: which labels are in use, and whether they help."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.maxl.generated import Both
from experiments.maxl.network import AUXILIARY, Networks
from jaxmtl import training

After = Callable[[Any, Mapping[str, Any]], tuple[Any, dict[str, Any]]]


class Probe:
  """Labels in use over the epoch, and cosines of gradients on the first training images."""

  def __init__(self, networks: Networks, train: Mapping[str, Any], batch_size: int):
    """Keeps so many training images."""
    self._networks = networks
    rows = {name: jnp.asarray(values[:batch_size]) for name, values in train.items()}
    self._batch = {**rows, "image": networks.images(rows["image"])}
    axes = {**dict.fromkeys(self._batch), AUXILIARY: 0}
    self._cosine = jax.jit(jax.vmap(networks.cosine, in_axes=(0, axes)))
    self._generate = jax.jit(jax.vmap(networks.generate, in_axes=(0, None)))
    self._in_use = jax.jit(jax.vmap(_in_use))

  def of_given(self, labels: Callable[[], Mapping[str, Any]]) -> After:
    """After epochs with given labels, int `[runs, N]` by auxiliary task; called when needed."""
    count = len(self._batch["image"])

    @functools.cache
    def probe() -> Any:
      few = {a: jnp.asarray(values[:, :count]) for a, values in labels().items()}
      return self._networks.as_labels({**self._batch, AUXILIARY: few})

    def after(state: training.TrainState, measured: Mapping[str, Any]) -> Any:
      del measured
      state, share = self._looked_at(state)
      return state, {**share, **self._cosine(state, probe())}

    return after

  def of_generated(self) -> After:
    """After epochs with generated labels."""

    def after(state: Both, measured: Mapping[str, Any]) -> Any:
      del measured
      soft = self._generate(state.label, self._batch)
      network, share = self._looked_at(state.network)
      cosine = self._cosine(network, {**self._batch, AUXILIARY: soft})
      return dataclasses.replace(state, network=network), {**share, **cosine}

    return after

  def _looked_at(self, state: training.TrainState) -> tuple[training.TrainState, dict[str, Any]]:
    """The state with nothing in use, and the share of labels that were, in per cent."""
    none, share = self._in_use(state.model_state["used"], state.model_state["sizes"])
    fresh = dataclasses.replace(state, model_state={**state.model_state, "used": none})
    return fresh, {"labels_in_use": share}


def _in_use(used: Any, sizes: Any) -> tuple[Any, jax.Array]:
  """Of one run; padding is never in use."""
  count = sum(jnp.sum(which) for which in used.values())
  own = sum(sizes.values())
  return jax.tree.map(jnp.zeros_like, used), 100 * count / jnp.maximum(own, 1)
