"""Meta-gradients: exact derivatives through look-ahead steps, and weightings that learn by them."""

from jaxmtl.meta.auto_lambda import AutoLambdaState as AutoLambdaState
from jaxmtl.meta.auto_lambda import auto_lambda as auto_lambda
from jaxmtl.meta.base import LogitState as LogitState
from jaxmtl.meta.forum import forum as forum
from jaxmtl.meta.hypergradient import hypergradient as hypergradient
from jaxmtl.meta.maxl import LabelNetwork as LabelNetwork
from jaxmtl.meta.maxl import LabelState as LabelState
from jaxmtl.meta.maxl import label_value_and_grad as label_value_and_grad
from jaxmtl.meta.maxl import maxl as maxl
from jaxmtl.meta.moml import moml as moml
from jaxmtl.tasks import methods_of

METHODS = methods_of(globals())
"""Bi-level weightings by name, for command lines."""

# An assignment would hide the methods' types: checkers take it for a list without names.
globals().update(__all__=[*METHODS])
