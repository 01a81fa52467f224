"""Moved to `jaxmtl.gradients`; here until 0.3."""

from jaxmtl.gradients.differentiate import (
  representation_value_and_grad as representation_value_and_grad,
)
from jaxmtl.gradients.differentiate import (
  task_value_and_grad as task_value_and_grad,
)
from jaxmtl.gradients.losses import stack_losses as stack_losses
from jaxmtl.gradients.one_by_one import map_tasks as map_tasks
from jaxmtl.gradients.one_by_one import pull_back_tasks as pull_back_tasks
