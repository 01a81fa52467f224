"""ReCo: contrast between hard pixels of a class and pixels of the classes that are like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmtl import guards
from jaxmtl.contrast.bank import FeatureBank
from jaxmtl.contrast.classes import Pixels, means_of, pixels_of, unit
from jaxmtl.contrast.sampling import categories, grouped, ranks
from jaxmtl.losses.validity import check_share

Queries = Literal["hard", "random", "easy"]
Keys = Literal["related", "random"]


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
    "hard": confidence < strong_threshold,
    "easy": confidence >= strong_threshold,
    "random": jnp.ones_like(confidence, bool),
  }[queries]
  options = (num_queries, num_negatives, temperature, graph_temperature)
  return _loss(pixels, chosen, key, options, keys, reduction, bank)


class _Table(NamedTuple):
  """Where keys are drawn from: unit vectors, class after class.

  Attributes:
    keys: float `[M, D]`.
    order: which of them are a class's, one after another, int32 `[M]`.
    starts: int32 `[C]`.
    counts: int32 `[C]`.
    means: float `[C, D]`, of each class.
  """

  keys: jax.Array
  order: jax.Array
  starts: jax.Array
  counts: jax.Array
  means: jax.Array


def _loss(
  pixels: Pixels,
  chosen: jax.Array,
  key: jax.Array,
  options: tuple[int, int, float, float],
  keys: Keys,
  reduction: str,
  bank: FeatureBank | None,
) -> jax.Array:
  num_queries, num_negatives, temperature, graph_temperature = options
  classes = jnp.arange(pixels.num_classes)
  fixed = pixels._replace(features=jax.lax.stop_gradient(pixels.features))
  means, counts = means_of(fixed)
  directions = unit(means)
  # Class after class, those that may be queries first.
  order, starts = grouped(2 * pixels.classes + ~chosen, counts)
  in_doubt = (pixels.one_hot & chosen[:, None]).sum(0, dtype=jnp.int32)
  if bank is None:
    table = _Table(unit(fixed.features), order, starts, counts, means)
  else:
    table = _of_bank(bank, pixels)
  shares = _shares(means, table, keys, graph_temperature)
  present = counts > 0

  def of_class(c: jax.Array) -> jax.Array:
    of_queries, of_classes, of_keys = jax.random.split(jax.random.fold_in(key, c), 3)
    drawn = order[starts[c] + ranks(of_queries, (num_queries,), in_doubt[c])]
    shape = (num_queries, num_negatives)
    other = categories(of_classes, shape, shares[c])
    place = table.order[table.starts[other] + ranks(of_keys, shape, table.counts[other])]
    query = unit(pixels.features[drawn])
    positive = query @ directions[c]
    # All keys at once: a product of matrices, where a key a draw would be moved 512 times.
    negatives = jnp.take_along_axis(query @ table.keys.T, place, axis=1)
    logits = jnp.concatenate([positive[:, None], negatives], axis=1) / temperature
    return (jax.nn.logsumexp(logits, axis=1) - logits[:, 0]).mean()

  def one(c: jax.Array) -> jax.Array:
    takes_part = (in_doubt[c] > 0) & (shares[c].sum() > 0)
    zero: Callable[[jax.Array], jax.Array] = lambda c: jnp.zeros((), pixels.features.dtype)  # noqa: E731
    return jax.lax.cond(takes_part, of_class, zero, c)

  total = jax.lax.map(one, classes).sum()
  total = jnp.where(present.sum() > 1, total, 0) if bank is None else total
  return total if reduction == "sum" else total / jnp.maximum(present.sum(), 1)


def _shares(means: jax.Array, table: _Table, keys: Keys, graph_temperature: float) -> jax.Array:
  """How often each class, `[C, C]`, is a negative of each; 0 for itself and for those without."""
  others = (table.counts > 0) & ~jnp.eye(len(means), dtype=bool)
  if keys == "random":
    return jnp.where(others, table.counts.astype(means.dtype), 0)
  near = unit(means) @ unit(table.means).T / graph_temperature
  highest = jnp.max(jnp.where(others, near, -jnp.inf), axis=1, keepdims=True)
  return jnp.where(others, jnp.exp(near - jnp.where(jnp.isfinite(highest), highest, 0)), 0)


def _of_bank(bank: FeatureBank, pixels: Pixels) -> _Table:
  num_classes, size, dimension = bank.features.shape
  wanted = pixels.num_classes, pixels.features.shape[1]
  if (num_classes, dimension) != wanted:
    raise ValueError(
      f"bank must be of {wanted[0]} classes and {wanted[1]} features, got {num_classes} and "
      f"{dimension}."
    )
  features = jax.lax.stop_gradient(bank.features).astype(pixels.features.dtype)
  counts = jnp.minimum(bank.filled, size)
  held = (jnp.arange(size) < counts[:, None])[..., None]
  means = jnp.where(held, features, 0).sum(1) / jnp.maximum(counts, 1)[:, None]
  order = jnp.arange(num_classes * size)
  return _Table(
    features.reshape(-1, dimension), order, jnp.arange(num_classes) * size, counts, means
  )


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
  check_share("strong_threshold", strong_threshold)


def _choice(name: str, value: str, choices: Any) -> None:
  known = choices.__args__
  if value not in known:
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
