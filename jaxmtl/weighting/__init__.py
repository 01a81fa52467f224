"""Weightings: task losses to task weights, one file a method."""

from jaxmtl.weighting.base import Weighting, loss_weighting
from jaxmtl.weighting.dwa import DWAState, dwa
from jaxmtl.weighting.equal import constant, equal
from jaxmtl.weighting.rlw import RLWState, rlw
from jaxmtl.weighting.uncertainty import UncertaintyState, uncertainty

# By name, for command lines. `constant` is not here: it needs its weights.
METHODS = {f.__name__: f for f in (dwa, equal, rlw, uncertainty)}

__all__ = [
  "METHODS",
  "DWAState",
  "RLWState",
  "UncertaintyState",
  "Weighting",
  "constant",
  "dwa",
  "equal",
  "loss_weighting",
  "rlw",
  "uncertainty",
]
