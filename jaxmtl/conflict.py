"""Moved to `jaxmtl.gradients`; here until 0.3."""

from jaxmtl.gradients.conflict import (
  curvature_bound as curvature_bound,
)
from jaxmtl.gradients.conflict import (
  magnitude_similarity as magnitude_similarity,
)
