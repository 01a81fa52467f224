"""jaxmtl: multi-task and auxiliary learning in JAX.

Methods and task gradients are here; all else is in subpackages, imported when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxmtl import aggregation, gradients, meta, transforms, weighting
from jaxmtl._keys import unwrap_keys as unwrap_keys
from jaxmtl._keys import wrap_keys as wrap_keys
from jaxmtl._platform import forms_for as forms_for
from jaxmtl._platform import portable as portable
from jaxmtl.aggregation import *
from jaxmtl.aggregation import graddrop_layer as graddrop_layer
from jaxmtl.gradients import *
from jaxmtl.guards import apply_updates as apply_updates
from jaxmtl.meta import *
from jaxmtl.tasks import Tasks as Tasks
from jaxmtl.transforms import *
from jaxmtl.weighting import *

if TYPE_CHECKING:
  from jaxmtl import contrast as contrast
  from jaxmtl import data as data
  from jaxmtl import export as export
  from jaxmtl import flax as flax
  from jaxmtl import labels as labels
  from jaxmtl import losses as losses
  from jaxmtl import metrics as metrics
  from jaxmtl import models as models
  from jaxmtl import nnx as nnx
  from jaxmtl import plots as plots
  from jaxmtl import regularization as regularization
  from jaxmtl import training as training

__version__ = "0.1.0"

METHODS = {**weighting.METHODS, **meta.METHODS, **aggregation.METHODS}
"""All weightings and aggregators by name."""

_PACKAGES = (
  *(
    "aggregation",
    "contrast",
    "data",
    "gradients",
    "labels",
    "losses",
    "meta",
    "metrics",
    "models",
    "plots",
  ),
  *("regularization", "training", "transforms", "weighting"),
)
# What fits to other libraries, under their names: a star import must not hide these.
_ADAPTERS = ("export", "flax", "nnx")
# Modules of before 0.2, which say where their names are now.
_MOVED = ("conflict", "gram", "implicit", "jacobian")

__all__ = [
  "METHODS",
  *METHODS,
  *gradients.__all__,
  *transforms.__all__,
  "Tasks",
  "apply_updates",
  "forms_for",
  "graddrop_layer",
  "portable",
  "unwrap_keys",
  "wrap_keys",
  *_PACKAGES,
]


def __getattr__(name: str) -> Any:
  if name in (*_PACKAGES, *_ADAPTERS, *_MOVED):
    return importlib.import_module(f"jaxmtl.{name}")
  raise AttributeError(f"module 'jaxmtl' has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted([*__all__, *_ADAPTERS, "__version__"])
