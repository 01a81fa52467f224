"""Weightings: task losses to task weights, one file a method."""

from jaxmtl.tasks import methods_of
from jaxmtl.weighting.base import Weighting as Weighting
from jaxmtl.weighting.base import loss_weighting as loss_weighting
from jaxmtl.weighting.cosmos import cosmos as cosmos
from jaxmtl.weighting.dwa import DWAState as DWAState
from jaxmtl.weighting.dwa import dwa as dwa
from jaxmtl.weighting.equal import constant as constant
from jaxmtl.weighting.equal import equal as equal
from jaxmtl.weighting.famo import FAMOState as FAMOState
from jaxmtl.weighting.famo import famo as famo
from jaxmtl.weighting.gls import GLSState as GLSState
from jaxmtl.weighting.gls import gls as gls
from jaxmtl.weighting.gradnorm import GradNormState as GradNormState
from jaxmtl.weighting.gradnorm import gradnorm as gradnorm
from jaxmtl.weighting.imtl_l import IMTLLState as IMTLLState
from jaxmtl.weighting.imtl_l import imtl_l as imtl_l
from jaxmtl.weighting.pbi import pbi as pbi
from jaxmtl.weighting.rlw import RLWState as RLWState
from jaxmtl.weighting.rlw import rlw as rlw
from jaxmtl.weighting.stch import STCHState as STCHState
from jaxmtl.weighting.stch import stch as stch
from jaxmtl.weighting.uncertainty import (
  UncertaintyState as UncertaintyState,
)
from jaxmtl.weighting.uncertainty import (
  uncertainty as uncertainty,
)

METHODS = methods_of(globals())
"""By name, for command lines; `constant` and `stch` have options without defaults."""

# An assignment would hide the methods' types: checkers take it for a list without names.
globals().update(__all__=[*METHODS])
