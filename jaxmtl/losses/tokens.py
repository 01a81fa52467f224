"""The loss of a text decoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxmtl.losses.validity import accumulation, as_classes, check_share, counted


def token_cross_entropy(
  logits: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  *,
  label_smoothing: jax.typing.ArrayLike = 0.1,
  ignore: int = -100,
) -> jax.Array:
  r"""Cross-entropy of the next tokens, summed over each text.

  .. math:: L_b = \sum_{t > 1,\, y_{bt} \text{ counts}} -(1 - \epsilon) \log p_{b,t-1}(y_{bt})
            - \frac{\epsilon}{V} \sum_v \log p_{b,t-1}(v)

  The logits at a token are for the next one: those of the last, and the label of the first, are
  not used. The loss of a batch is the mean over texts, or one with weights of answers. A text
  without labels has loss 0 and zero gradient.

  Args:
    logits: float `[B, L, V]`, those at each token for the next.
    labels: integers `[B, L]`, the tokens themselves, and `ignore` where none is to be predicted.
    label_smoothing: epsilon in [0, 1], the share of each label that is spread over all tokens.
    ignore: label that does not count.

  Returns:
    `[B]`, float32 (float64 for float64 logits).

  Raises:
    ValueError: if the shapes do not fit, `label_smoothing` is out of range, or, where values are
      known, a label that counts is no token. Under `jax.jit` such a label does not count.
    TypeError: if `labels` are not integers.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.losses import token_cross_entropy
    >>> logits = jnp.zeros((1, 3, 4))
    >>> round(float(token_cross_entropy(logits, jnp.array([[0, -100, 2]]))[0]), 4)  # log(4)
    1.3863

  Reference:
    Liu, "Converging Pathways", 2024, section 6.3.
  """
  logits, labels = accumulation(logits), as_classes("labels", labels)
  if logits.ndim != 3 or logits.shape[:2] != labels.shape:
    raise ValueError(
      f"logits must have shape [B, L, V] and labels [B, L], got {logits.shape} and {labels.shape}."
    )
  check_share("label_smoothing", label_smoothing)  # type: ignore[arg-type]
  before, labels = jnp.asarray(logits[:, :-1]), labels[:, 1:]
  tokens = logits.shape[-1]
  sound = (labels >= 0) & (labels < tokens)
  found = ("labels", labels, sound, f"tokens from 0 to {tokens - 1}")
  counts = counted(labels.shape, found, None, None, ignore, "")
  log_p = jax.nn.log_softmax(counts.replace(before))
  right = jnp.take_along_axis(log_p, counts.replace(labels)[..., None], axis=-1)[..., 0]
  losses = -(1 - label_smoothing) * right - label_smoothing * log_p.mean(axis=-1)
  return counts.replace(jnp.asarray(losses)).sum(axis=1)
