"""Train step, epochs, loop, checkpoints, metrics, tables and figures."""

from jaxmtl.training.checkpoint import Checkpointer
from jaxmtl.training.epoch import scan_epoch
from jaxmtl.training.loop import TrainingDiverged, check_finite, fit
from jaxmtl.training.metrics import MetricsWriter
from jaxmtl.training.state import Aux, TrainState, TrainStep
from jaxmtl.training.step import train_step

__all__ = [
  "Aux",
  "Checkpointer",
  "MetricsWriter",
  "TrainState",
  "TrainStep",
  "TrainingDiverged",
  "check_finite",
  "fit",
  "scan_epoch",
  "train_step",
]
