"""Train step, epochs, loop, evaluation, checkpoints, metrics and tables."""

from jaxmtl._files import replacing
from jaxmtl.training.best import BestWeights
from jaxmtl.training.checkpoint import Checkpointer
from jaxmtl.training.epoch import scan_epoch, scan_steps
from jaxmtl.training.evaluation import Metric, batches_of, evaluator, predict
from jaxmtl.training.lock import locked
from jaxmtl.training.loop import Fitted, TrainingDiverged, check_finite, fit, in_steps
from jaxmtl.training.mean_teacher import Teacher, mean_teacher, update_teacher
from jaxmtl.training.state import Aux, TrainState, TrainStep, variables_of
from jaxmtl.training.step import train_step
from jaxmtl.training.stop import Stopped, stop_on_signal, stop_requested
from jaxmtl.training.trained import Trained, load_trained
from jaxmtl.training.trained_maps import TrainedMaps, load_trained_maps
from jaxmtl.training.weights import load_weights, save_weights
from jaxmtl.training.writer import MetricsWriter

__all__ = [
  "Aux",
  "BestWeights",
  "Checkpointer",
  "Fitted",
  "Metric",
  "MetricsWriter",
  "Stopped",
  "Teacher",
  "TrainState",
  "TrainStep",
  "Trained",
  "TrainedMaps",
  "TrainingDiverged",
  "batches_of",
  "check_finite",
  "evaluator",
  "fit",
  "in_steps",
  "load_trained",
  "load_trained_maps",
  "load_weights",
  "locked",
  "mean_teacher",
  "predict",
  "replacing",
  "save_weights",
  "scan_epoch",
  "scan_steps",
  "stop_on_signal",
  "stop_requested",
  "train_step",
  "update_teacher",
  "variables_of",
]
