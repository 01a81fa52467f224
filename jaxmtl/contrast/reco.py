"""ReCo: contrast between hard pixels of a class and pixels of the classes that are like it."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.contrast.bank import FeatureBank
from jaxmtl.contrast.classes import pixels_of, unit
from jaxmtl.contrast.pools import Keys, Pools, draw, pools_of

Queries = Literal["hard", "random", "easy"]


def reco_loss(
  representations: jax.typing.ArrayLike,
  *,
  labels: jax.typing.ArrayLike,
  valid: Any = None,
  probabilities: jax.typing.ArrayLike,
  key: jax.Array,
  num_queries: int = 256,
  num_negatives: int = 512,
  temperature: float = 0.5,
  strong_threshold: float = 0.97,
  graph_temperature: float = 0.5,
  queries: Queries = "hard",
  keys: Keys = "related",
  reduction: Literal["mean", "sum"] = "mean",
  bank: FeatureBank | None = None,
) -> jax.Array:
  r"""Regional contrast: hard pixels near their class's mean, far from pixels of related classes.

  .. math:: L = \frac{1}{|C|} \sum_{c \in C} \frac{1}{Q} \sum_{q} -\log
    \frac{e^{\cos(r_q, r_c) / \tau}}{e^{\cos(r_q, r_c) / \tau} + \sum_n e^{\cos(r_q, r_n) / \tau}}

  For each class c of the batch, with r_c the mean of its representations: queries q are drawn with
  replacement from its pixels in doubt, those whose probability of c is below `strong_threshold`;
  for each query, the classes of its negative keys n are drawn from
  :math:`\mathrm{softmax}_j(\cos(r_c, r_j) / \tau_g)`, and then a pixel of that class. Gradients
  pass through queries alone. A class without a pixel in doubt adds 0, but counts. A batch with one
  class or none has loss 0. Shapes do not depend on which classes there are: one program for all
  batches. Where the batch is sharded over devices, means and draws are those of all of it.

  Args:
    representations: float `[batch, height, width, D]`, or any `[..., D]`.
    labels: integer classes `[batch, height, width]` at the resolution of the representations;
      negative ones are void. Pseudo-labels for images without labels.
    valid: bool or 0/1, the same shape: pixels that take part; for pseudo-labels those of which the
      teacher is sure enough. None: all that are not void.
    probabilities: float `[batch, height, width, C]`, the network's for each class.
    key: for the draws; another one each step.
    num_queries: of each class; more make the loss less noisy, at proportional cost.
    num_negatives: of each query; the same.
    temperature: tau; lower ones press harder on the nearest negatives.
    strong_threshold: above which a pixel is not in doubt, in [0, 1]; the lower, the fewer queries.
    graph_temperature: of the draws of negative classes; lower ones keep to the most alike.
    queries: `"hard"`, as above; of the ablation, `"random"` for all valid pixels, `"easy"` for
      those that are not in doubt.
    keys: `"related"`, as above; `"random"` for any valid pixel of another class.
    reduction: `"mean"` over the classes of the batch, or their `"sum"`, as in the thesis' equation.
    bank: of `feature_bank`: negatives are drawn from it instead of the batch, of any class it has.

  Returns:
    A scalar, float32 (float64 for float64 representations).

  Raises:
    ValueError: if shapes do not fit, a number or a choice is out of range, or, where values are
      known, a valid label is no class. Under `jax.jit` such a pixel takes no part.
    TypeError: if labels are not integers.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl.contrast import reco_loss
    >>> labels = jnp.array([[[0, 0, 1, -1]]])
    >>> representations = jax.nn.one_hot(labels, 8)
    >>> loss = reco_loss(
    ...   representations, labels=labels, probabilities=jnp.full((1, 1, 4, 2), 0.5),
    ...   key=jax.random.key(0), num_queries=4, num_negatives=2)
    >>> bool(jnp.isclose(loss, -jnp.log(jnp.exp(2.0) / (jnp.exp(2.0) + 2))))
    True

  Reference: Liu, Zhi, Johns and Davison, "Bootstrapping Semantic Segmentation with Regional
  Contrast", 2022, section 3.
  """
  sure = jnp.asarray(probabilities)
  _check(num_queries, num_negatives, temperature, graph_temperature, strong_threshold)
  _choice("queries", queries, Queries)
  _choice("keys", keys, Keys)
  _choice("reduction", reduction, Literal["mean", "sum"])
  pixels = pixels_of(representations, labels, sure.shape[-1], valid)
  if sure.shape[:-1] != jnp.shape(labels):
    raise ValueError(
      f"probabilities must be {jnp.shape(labels)} with the classes behind, got {sure.shape}."
    )
  sure = jax.lax.stop_gradient(sure).reshape(-1, pixels.num_classes)
  confidence = jnp.take_along_axis(
    sure, jnp.minimum(pixels.classes, pixels.num_classes - 1)[:, None], axis=1
  )[:, 0]
  chosen = {
    "hard": ~(confidence >= strong_threshold),  # what is NaN is in doubt
    "easy": confidence >= strong_threshold,
    "random": jnp.ones_like(confidence, bool),
  }[queries]
  pools = pools_of(pixels, chosen, keys, graph_temperature, bank)
  total = _loss(pixels.features, pools, key, num_queries, num_negatives, temperature)
  return total if reduction == "sum" else total / jnp.maximum(pools.present.sum(), 1)


# Compiled once for calls outside of `jax.jit` as well.
@functools.partial(jax.jit, static_argnames=("num_queries", "num_negatives"), inline=True)
def _loss(
  features: jax.Array,
  pools: Pools,
  key: jax.Array,
  num_queries: int,
  num_negatives: int,
  temperature: float | jax.Array,
) -> jax.Array:
  """The sum over classes."""
  temperature = jnp.asarray(temperature, features.dtype)
  classes = jnp.arange(len(pools.present))
  drawn = jax.vmap(lambda c: draw(pools, key, c, num_queries, 1)[0])(classes)
  queries = unit(features[drawn])

  # One class after another: similarities of all at once would be the largest array of the step.
  def one(of: tuple[jax.Array, jax.Array]) -> jax.Array:
    return _of_class(num_negatives, *of, temperature, pools, key)

  return jax.lax.map(one, (queries, classes)).sum()


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _of_class(
  num_negatives: int,
  queries: jax.Array,
  c: jax.Array,
  temperature: jax.Array,
  pools: Pools,
  key: jax.Array,
) -> jax.Array:
  """The loss of a class's queries `[Q, D]`, 0 where it does not take part."""
  losses = functools.partial(_contrast, num_negatives, c, pools, key)
  return jax.lax.cond(
    _takes_part(c, pools), losses, lambda q, t: jnp.zeros((), q.dtype), queries, temperature
  )


@_of_class.defjvp
def _of_class_jvp(num_negatives: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
  # With the derivative found at once, all that is kept for the way back is as large as the queries:
  # of a branch JAX keeps what it is given, for each class a copy of all keys.
  queries, c, temperature, pools, key = primals
  losses = functools.partial(_contrast, num_negatives, c, pools, key)

  def nothing(*given: jax.Array) -> Any:
    return jnp.zeros((), queries.dtype), jax.tree.map(jnp.zeros_like, given)

  both = jax.value_and_grad(losses, argnums=(0, 1))
  value, (by_queries, by_temperature) = jax.lax.cond(
    _takes_part(c, pools), both, nothing, queries, temperature
  )
  return value, (by_queries * tangents[0]).sum() + by_temperature * tangents[2]


def _takes_part(c: jax.Array, pools: Pools) -> jax.Array:
  # Not by the shares: they are NaN where representations are, and so must the loss be.
  others = jnp.where(jnp.arange(len(pools.key_counts)) == c, 0, pools.key_counts)
  return (pools.in_doubt[c] > 0) & (others > 0).any()


def _contrast(
  num_negatives: int,
  c: jax.Array,
  pools: Pools,
  key: jax.Array,
  queries: jax.Array,
  temperature: jax.Array,
) -> jax.Array:
  _, keys = draw(pools, key, c, len(queries), num_negatives)
  positive = queries @ pools.positives[c]
  if len(pools.keys) <= num_negatives * queries.shape[1]:
    # All keys at once: a product of matrices, where each draw's own vector would be moved.
    negatives = jnp.take_along_axis(queries @ pools.keys.T, keys, axis=1)
  else:
    # With so many pixels the vectors of the draws are the smaller array.
    negatives = jnp.einsum("qd,qnd->qn", queries, pools.keys[keys])
  logits = jnp.concatenate([positive[:, None], negatives], axis=1) / temperature
  return (jax.nn.logsumexp(logits, axis=1) - logits[:, 0]).mean()


def _check(
  num_queries: int,
  num_negatives: int,
  temperature: float,
  graph_temperature: float,
  strong_threshold: float,
) -> None:
  for name, number in (("num_queries", num_queries), ("num_negatives", num_negatives)):
    if number < 1:
      raise ValueError(f"{name} must be at least 1, got {number}.")
  for name, value in (("temperature", temperature), ("graph_temperature", graph_temperature)):
    if not guards.is_traced(value) and not value > 0:
      raise ValueError(f"{name} must be above 0, got {value}.")
  if not guards.is_traced(strong_threshold) and not 0 <= strong_threshold <= 1:
    raise ValueError(f"strong_threshold must be between 0 and 1, got {strong_threshold}.")


def _choice(name: str, value: str, choices: Any) -> None:
  known = choices.__args__
  if value not in known:
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
