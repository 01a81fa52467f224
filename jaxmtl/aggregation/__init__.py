"""Aggregators: task gradients to one gradient, one file a method."""

from jaxmtl.aggregation.aligned_mtl import aligned_mtl as aligned_mtl
from jaxmtl.aggregation.base import (
  Aggregator as Aggregator,
)
from jaxmtl.aggregation.base import (
  GramianAggregator as GramianAggregator,
)
from jaxmtl.aggregation.base import (
  SolverState as SolverState,
)
from jaxmtl.aggregation.base import (
  elementwise_aggregator as elementwise_aggregator,
)
from jaxmtl.aggregation.base import (
  gramian_aggregator as gramian_aggregator,
)
from jaxmtl.aggregation.cagrad import cagrad as cagrad
from jaxmtl.aggregation.conflict_free import conflict_free as conflict_free
from jaxmtl.aggregation.cr_mogm import CRMOGMState as CRMOGMState
from jaxmtl.aggregation.cr_mogm import cr_mogm as cr_mogm
from jaxmtl.aggregation.db_mtl import DBMTLState as DBMTLState
from jaxmtl.aggregation.db_mtl import db_mtl as db_mtl
from jaxmtl.aggregation.dual_proj import dual_proj as dual_proj
from jaxmtl.aggregation.excess_mtl import ExcessMTLState as ExcessMTLState
from jaxmtl.aggregation.excess_mtl import excess_mtl as excess_mtl
from jaxmtl.aggregation.fairgrad import fairgrad as fairgrad
from jaxmtl.aggregation.gcs import gcs as gcs
from jaxmtl.aggregation.graddrop import GradDropState as GradDropState
from jaxmtl.aggregation.graddrop import graddrop as graddrop
from jaxmtl.aggregation.graddrop_layer import graddrop_layer as graddrop_layer
from jaxmtl.aggregation.gradvac import GradVacState as GradVacState
from jaxmtl.aggregation.gradvac import gradvac as gradvac
from jaxmtl.aggregation.imtl_g import imtl_g as imtl_g
from jaxmtl.aggregation.krum import krum as krum
from jaxmtl.aggregation.linear import mean_tasks as mean_tasks
from jaxmtl.aggregation.linear import sum_tasks as sum_tasks
from jaxmtl.aggregation.metabalance import (
  MetaBalanceState as MetaBalanceState,
)
from jaxmtl.aggregation.metabalance import (
  metabalance as metabalance,
)
from jaxmtl.aggregation.mgda import mgda as mgda
from jaxmtl.aggregation.moco import MoCoState as MoCoState
from jaxmtl.aggregation.moco import moco as moco
from jaxmtl.aggregation.modo import MoDoState as MoDoState
from jaxmtl.aggregation.modo import modo as modo
from jaxmtl.aggregation.nash_mtl import NashMTLState as NashMTLState
from jaxmtl.aggregation.nash_mtl import nash_mtl as nash_mtl
from jaxmtl.aggregation.pcd import PCDState as PCDState
from jaxmtl.aggregation.pcd import pcd as pcd
from jaxmtl.aggregation.pcgrad import PCGradState as PCGradState
from jaxmtl.aggregation.pcgrad import pcgrad as pcgrad
from jaxmtl.aggregation.sdmgrad import SDMGradState as SDMGradState
from jaxmtl.aggregation.sdmgrad import sdmgrad as sdmgrad
from jaxmtl.aggregation.trimmed_mean import trimmed_mean as trimmed_mean
from jaxmtl.aggregation.upgrad import upgrad as upgrad
from jaxmtl.tasks import methods_of

METHODS = methods_of(globals())
"""By name, for command lines and for the tests that every method passes."""

# An assignment would hide the methods' types: checkers take it for a list without names.
globals().update(__all__=[*METHODS, "graddrop_layer"])
