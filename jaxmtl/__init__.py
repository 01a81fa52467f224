"""jaxmtl: multi-task and auxiliary learning in JAX."""

from jaxmtl import aggregation, labels, losses, weighting
from jaxmtl.aggregation import cagrad, mean_tasks, metabalance, mgda, pcgrad, sum_tasks
from jaxmtl.gram import combine, cosine_matrix, gramian
from jaxmtl.guards import apply_updates
from jaxmtl.jacobian import representation_value_and_grad, task_value_and_grad
from jaxmtl.weighting import constant, dwa, equal, rlw, uncertainty

__version__ = "0.1.0"

__all__ = [
  "aggregation",
  "apply_updates",
  "cagrad",
  "combine",
  "constant",
  "cosine_matrix",
  "dwa",
  "equal",
  "gramian",
  "labels",
  "losses",
  "mean_tasks",
  "metabalance",
  "mgda",
  "pcgrad",
  "representation_value_and_grad",
  "rlw",
  "sum_tasks",
  "task_value_and_grad",
  "uncertainty",
  "weighting",
]
