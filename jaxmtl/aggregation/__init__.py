"""Aggregators: task gradients to one gradient, one file a method."""

from jaxmtl.aggregation.base import (
  Aggregator,
  SolverState,
  elementwise_aggregator,
  gramian_aggregator,
)
from jaxmtl.aggregation.cagrad import cagrad
from jaxmtl.aggregation.linear import mean_tasks, sum_tasks
from jaxmtl.aggregation.metabalance import MetaBalanceState, metabalance
from jaxmtl.aggregation.mgda import mgda
from jaxmtl.aggregation.pcgrad import PCGradState, pcgrad

# By name, for command lines and for the tests that every method passes.
METHODS = {f.__name__: f for f in (cagrad, mean_tasks, metabalance, mgda, pcgrad, sum_tasks)}

__all__ = [
  "METHODS",
  "Aggregator",
  "MetaBalanceState",
  "PCGradState",
  "SolverState",
  "cagrad",
  "elementwise_aggregator",
  "gramian_aggregator",
  "mean_tasks",
  "metabalance",
  "mgda",
  "pcgrad",
  "sum_tasks",
]
