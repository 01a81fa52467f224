"""What stands around weightings and aggregators in a chain."""

from jaxmtl.transforms.accumulate import AccumulateState as AccumulateState
from jaxmtl.transforms.accumulate import accumulate as accumulate
from jaxmtl.transforms.chain import chain as chain
from jaxmtl.transforms.heads_apart import heads_apart as heads_apart
from jaxmtl.transforms.inject import InjectedState as InjectedState
from jaxmtl.transforms.inject import inject_hyperparams as inject_hyperparams
from jaxmtl.transforms.loss_scale import LossScaleState as LossScaleState
from jaxmtl.transforms.loss_scale import dynamic_loss_scale as dynamic_loss_scale
from jaxmtl.transforms.per_task import per_task as per_task
from jaxmtl.transforms.skip import SkipState as SkipState
from jaxmtl.transforms.skip import skip_if as skip_if
from jaxmtl.transforms.skip import skip_nonfinite as skip_nonfinite
from jaxmtl.transforms.watch import WatchState as WatchState
from jaxmtl.transforms.watch import watch as watch

__all__ = [
  "accumulate",
  "chain",
  "dynamic_loss_scale",
  "heads_apart",
  "inject_hyperparams",
  "per_task",
  "skip_if",
  "skip_nonfinite",
  "watch",
]
