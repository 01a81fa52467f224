"""Task gradients: from task losses, their Gramian, their sums, how much they conflict."""

from jaxmtl.gradients.combinations import combine
from jaxmtl.gradients.conflict import cosine_matrix, curvature_bound, magnitude_similarity
from jaxmtl.gradients.differentiate import representation_value_and_grad, task_value_and_grad
from jaxmtl.gradients.inner_products import gramian
from jaxmtl.gradients.losses import stack_losses
from jaxmtl.gradients.task_gramian import task_gramian

__all__ = [
  "combine",
  "cosine_matrix",
  "curvature_bound",
  "gramian",
  "magnitude_similarity",
  "representation_value_and_grad",
  "stack_losses",
  "task_gramian",
  "task_value_and_grad",
]
