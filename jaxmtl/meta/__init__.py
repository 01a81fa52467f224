"""Meta-gradients: exact derivatives through look-ahead steps, and weightings that learn by them."""

from jaxmtl.meta.auto_lambda import AutoLambdaState, auto_lambda
from jaxmtl.meta.base import LogitState
from jaxmtl.meta.forum import forum
from jaxmtl.meta.hypergradient import hypergradient
from jaxmtl.meta.maxl import LabelNetwork, LabelState, maxl
from jaxmtl.meta.moml import moml

# Bi-level weightings by name, for command lines.
METHODS = {f.__name__: f for f in (auto_lambda, moml, forum)}

__all__ = [
  "METHODS",
  "AutoLambdaState",
  "LabelNetwork",
  "LabelState",
  "LogitState",
  "auto_lambda",
  "forum",
  "hypergradient",
  "maxl",
  "moml",
]
