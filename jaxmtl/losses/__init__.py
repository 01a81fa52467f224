"""Task losses with one rule for labels: a task without labels has loss 0 and zero gradient.

An example takes part where `mask` is True, its label is not the `ignore` value, and its label is
one: a class of the logits, a probability, a finite number. A label that is none of these raises
where its value is known; under `jax.jit`, where it is not, the example is left out, and
`count_invalid` counts it. `weights` make the mean a weighted one, of which a mask is the case of
weights 0 and 1.

A loss of exactly 0 tells `jaxmtl.training.train_step` that the task had no label in the batch.
"""

from jaxmtl.losses.classification import (
  binary_cross_entropy as binary_cross_entropy,
)
from jaxmtl.losses.classification import (
  cross_entropy as cross_entropy,
)
from jaxmtl.losses.pixels import cosine_distance as cosine_distance
from jaxmtl.losses.pixels import pixel_l1 as pixel_l1
from jaxmtl.losses.pixels import pseudo_label_cross_entropy as pseudo_label_cross_entropy
from jaxmtl.losses.regression import mean_squared_error as mean_squared_error
from jaxmtl.losses.regression import smooth_l1 as smooth_l1
from jaxmtl.losses.soft_labels import focal as focal
from jaxmtl.losses.soft_labels import label_entropy as label_entropy
from jaxmtl.losses.tokens import token_cross_entropy as token_cross_entropy
from jaxmtl.losses.validity import count_invalid as count_invalid
