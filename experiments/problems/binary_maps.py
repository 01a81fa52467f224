"""Maps of two classes from one logit a pixel, saliency and edges: their losses and metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.measure import ratio
from jaxmtl import losses, metrics, training

SALIENCY, EDGE = "saliency", "edge"
BINARY = (SALIENCY, EDGE)
VOID = -1
# Of 1 a loss on edges has so much, the rest is that of all other pixels: edges are few.
_EDGE_SHARE = 0.95
# At which saliency is made binary; the best one for the whole set counts.
_LEVELS = np.linspace(0.2, 0.9, 15).astype(np.float32)


def binary_loss(kind: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross-entropy with a share w for pixels that are something, 1 - w for all others.

  Of edges w is .95; of saliency the share of the batch's pixels that are not salient.

  Args:
    kind: saliency or edge.
    logits: `[B, H, W, 1]`.
    labels: integers `[B, H, W]`, 0 and 1, -1 where void.
  """
  labels = labels[..., None]
  if kind == EDGE:
    share: Any = _EDGE_SHARE
    ratio_of_shares: Any = _EDGE_SHARE / (1 - _EDGE_SHARE)
  else:
    without, salient = (labels == 0).sum(), (labels == 1).sum()
    share = without / jnp.maximum(without + salient, 1)
    ratio_of_shares = without / jnp.maximum(salient, 1)
  loss = losses.binary_cross_entropy(logits, labels, pos_weight=ratio_of_shares, ignore=VOID)
  return (1 - share) * loss


def binary_metrics(saliency: Collection[str], edges: Collection[str]) -> dict[str, training.Metric]:
  """`saliency_iou`, the mean over images at the best threshold, and `ods_f`, both in per cent.

  Args:
    saliency: tasks of saliency.
    edges: tasks of edges.
  """
  found = {}
  if saliency:
    found["saliency_iou"] = training.Metric(
      _of_tasks(_count_iou, saliency),
      lambda sums: 100 * ratio(sums["iou"], sums["images"][..., None]).max(-1),
    )
  if edges:
    found["ods_f"] = training.Metric(
      _of_tasks(metrics.edge_counts, edges), lambda sums: 100 * metrics.ods_f(sums)
    )
  return found


def _of_tasks(count: Callable[[jax.Array, jax.Array], Any], tasks: Collection[str]) -> Any:
  """Counts of probabilities and labels `[B, H, W]`, by task."""

  def counts(outputs: Any, batch: Any) -> dict[str, Any]:
    found = {}
    for task in tasks:
      logits = outputs[task][..., 0]
      labels = jnp.where(batch["valid"][:, None, None], batch[task].astype(jnp.int32), VOID)
      # What is no number is wrong, whatever the label.
      answers = jnp.where(jnp.isnan(logits), 1 - labels, jax.nn.sigmoid(logits))
      found[task] = count(answers, labels)
    return found

  return counts


def _count_iou(probabilities: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
  """Sums over images of the IoU at each level; 1 where nothing is salient nor said to be."""
  known, salient = labels != VOID, labels == 1

  def at(level: jax.Array) -> jax.Array:
    said = (probabilities > level) & known
    both, either = ((said & salient).sum((1, 2)), (said | salient).sum((1, 2)))
    iou = jnp.where(either > 0, both / jnp.maximum(either, 1), 1)
    return jnp.where(known.any((1, 2)), iou, 0).sum()

  return {"iou": jax.lax.map(at, jnp.asarray(_LEVELS)), "images": known.any((1, 2)).sum()}
