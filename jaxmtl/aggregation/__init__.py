"""Aggregators: task gradients to one gradient, one file a method."""

from jaxmtl.aggregation.aligned_mtl import aligned_mtl
from jaxmtl.aggregation.base import (
  Aggregator,
  SolverState,
  elementwise_aggregator,
  gramian_aggregator,
)
from jaxmtl.aggregation.cagrad import cagrad
from jaxmtl.aggregation.conflict_free import conflict_free
from jaxmtl.aggregation.cr_mogm import CRMOGMState, cr_mogm
from jaxmtl.aggregation.db_mtl import DBMTLState, db_mtl
from jaxmtl.aggregation.dual_proj import dual_proj
from jaxmtl.aggregation.excess_mtl import ExcessMTLState, excess_mtl
from jaxmtl.aggregation.fairgrad import fairgrad
from jaxmtl.aggregation.gcs import gcs
from jaxmtl.aggregation.graddrop import GradDropState, graddrop
from jaxmtl.aggregation.gradvac import GradVacState, gradvac
from jaxmtl.aggregation.imtl_g import imtl_g
from jaxmtl.aggregation.krum import krum
from jaxmtl.aggregation.linear import mean_tasks, sum_tasks
from jaxmtl.aggregation.metabalance import MetaBalanceState, metabalance
from jaxmtl.aggregation.mgda import mgda
from jaxmtl.aggregation.moco import MoCoState, moco
from jaxmtl.aggregation.modo import MoDoState, modo
from jaxmtl.aggregation.nash_mtl import NashMTLState, nash_mtl
from jaxmtl.aggregation.pcd import PCDState, pcd
from jaxmtl.aggregation.pcgrad import PCGradState, pcgrad
from jaxmtl.aggregation.sdmgrad import SDMGradState, sdmgrad
from jaxmtl.aggregation.trimmed_mean import trimmed_mean
from jaxmtl.aggregation.upgrad import upgrad

# By name, for command lines and for the tests that every method passes.
METHODS = {
  f.__name__: f
  for f in (
    aligned_mtl,
    cagrad,
    conflict_free,
    cr_mogm,
    db_mtl,
    dual_proj,
    excess_mtl,
    fairgrad,
    gcs,
    graddrop,
    gradvac,
    imtl_g,
    krum,
    mean_tasks,
    metabalance,
    mgda,
    moco,
    modo,
    nash_mtl,
    pcd,
    pcgrad,
    sdmgrad,
    sum_tasks,
    trimmed_mean,
    upgrad,
  )
}

__all__ = [
  "METHODS",
  "Aggregator",
  "CRMOGMState",
  "DBMTLState",
  "ExcessMTLState",
  "GradDropState",
  "GradVacState",
  "MetaBalanceState",
  "MoCoState",
  "MoDoState",
  "NashMTLState",
  "PCDState",
  "PCGradState",
  "SDMGradState",
  "SolverState",
  "aligned_mtl",
  "cagrad",
  "conflict_free",
  "cr_mogm",
  "db_mtl",
  "dual_proj",
  "elementwise_aggregator",
  "excess_mtl",
  "fairgrad",
  "gcs",
  "graddrop",
  "gradvac",
  "gramian_aggregator",
  "imtl_g",
  "krum",
  "mean_tasks",
  "metabalance",
  "mgda",
  "moco",
  "modo",
  "nash_mtl",
  "pcd",
  "pcgrad",
  "sdmgrad",
  "sum_tasks",
  "trimmed_mean",
  "upgrad",
]
