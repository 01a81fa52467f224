"""Meta-gradients: exact derivatives through look-ahead steps, and weightings that learn by them."""

from jaxmtl.meta.auto_lambda import AutoLambdaState, auto_lambda
from jaxmtl.meta.forum import FORUMState, forum
from jaxmtl.meta.hypergradient import hypergradient
from jaxmtl.meta.maxl import LabelNetwork, LabelState, maxl
from jaxmtl.meta.moml import MOMLState, moml

# Bi-level weightings by name, for command lines.
METHODS = {f.__name__: f for f in (auto_lambda, moml, forum)}

__all__ = [
  "METHODS",
  "AutoLambdaState",
  "FORUMState",
  "LabelNetwork",
  "LabelState",
  "MOMLState",
  "auto_lambda",
  "forum",
  "hypergradient",
  "maxl",
  "moml",
]
