"""Moved to `jaxmtl.gradients`; here until 0.3."""

from jaxmtl.gradients.forms import TaskGradients as TaskGradients
from jaxmtl.gradients.task_gramian import task_gramian as task_gramian
