"""Moved to `jaxmtl.gradients`; here until 0.3."""

from jaxmtl.gradients.combinations import combine as combine
from jaxmtl.gradients.combinations import scale_tasks as scale_tasks
from jaxmtl.gradients.conflict import cosine_matrix as cosine_matrix
from jaxmtl.gradients.inner_products import (
  accumulator_dtype as accumulator_dtype,
)
from jaxmtl.gradients.inner_products import (
  gramian as gramian,
)
from jaxmtl.gradients.inner_products import (
  inner_products as inner_products,
)
from jaxmtl.gradients.inner_products import (
  row_norms as row_norms,
)
from jaxmtl.gradients.inner_products import (
  scaled_gramian as scaled_gramian,
)
