"""Weightings: task losses to task weights, one file a method."""

from jaxmtl.weighting.base import Weighting, loss_weighting
from jaxmtl.weighting.dwa import DWAState, dwa
from jaxmtl.weighting.equal import constant, equal
from jaxmtl.weighting.famo import FAMOState, famo
from jaxmtl.weighting.gls import GLSState, gls
from jaxmtl.weighting.gradnorm import GradNormState, gradnorm
from jaxmtl.weighting.imtl_l import IMTLLState, imtl_l
from jaxmtl.weighting.rlw import RLWState, rlw
from jaxmtl.weighting.stch import stch
from jaxmtl.weighting.uncertainty import UncertaintyState, uncertainty

# By name, for command lines. Not here: `constant`, which needs its weights, and `stch`, its mu.
METHODS = {f.__name__: f for f in (dwa, equal, famo, gls, gradnorm, imtl_l, rlw, uncertainty)}

__all__ = [
  "METHODS",
  "DWAState",
  "FAMOState",
  "GLSState",
  "GradNormState",
  "IMTLLState",
  "RLWState",
  "UncertaintyState",
  "Weighting",
  "constant",
  "dwa",
  "equal",
  "famo",
  "gls",
  "gradnorm",
  "imtl_l",
  "loss_weighting",
  "rlw",
  "stch",
  "uncertainty",
]
