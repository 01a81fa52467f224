"""Groups of steps whose outputs are maps: dense prediction, and ReCo's contrast of regions."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import dense, reco
from benchmarks.accelerator.config import Config
from benchmarks.accelerator.measure import Program, timed

Group = tuple[str, Callable[[], list[dict[str, Any]]]]

# The sizes of the Auto-lambda paper's NYUv2, and about those of ReCo's Pascal.
SPLIT = dense.Config(batch=4, height=288, width=384)
CONTRAST = reco.Config(backbone="resnet101", batch=10, side=320, classes=21)


def dense_steps(config: Config) -> Iterator[Group]:
  """Whole steps of Split with three tasks, by method."""
  sizes = SPLIT
  if config.tiny:
    sizes = dense.Config("resnet18", batch=2, height=32, width=48, features=8)

  def run(precision: str) -> list[dict[str, Any]]:
    given = dataclasses.replace(sizes, precision=precision)
    found = dense.makers(given)
    reused = dataclasses.replace(given, reuse=True, methods=("auto_lambda",), at_representation=())
    found["auto_lambda, reuse"] = dense.makers(reused)["auto_lambda"]
    return timed(found, config.rounds, config.threads)

  for dtype in config.dtypes[::-1]:
    title = f"Split of {sizes.backbone}, {sizes.batch} images of {sizes.height}x{sizes.width}"
    yield f"{title}, {dtype}, T = 3", functools.partial(run, dtype)


def contrast_steps(config: Config) -> Iterator[Group]:
  """DeepLabV3+'s step with and without ReCo's head and loss, and the loss alone."""
  sizes = CONTRAST
  if config.tiny:
    small = {"features": 8, "dimension": 8, "num_queries": 4, "num_negatives": 8}
    sizes = reco.Config("resnet18", side=32, classes=3, **small)

  def run() -> list[dict[str, Any]]:
    makers: dict[str, Callable[[], Program]] = {
      "plain": functools.partial(reco.step, sizes, head=False, contrasted=False),
      "with the head": functools.partial(reco.step, sizes, contrasted=False),
      "with ReCo": functools.partial(reco.step, sizes),
      "ReCo's loss and gradient alone": functools.partial(reco.loss_alone, sizes),
    }
    return timed(makers, config.rounds, config.threads)

  size = f"{sizes.batch} images of {sizes.side} px"
  yield f"DeepLabV3+ of {sizes.backbone}, {size}, float32, {sizes.num_queries} queries", run
