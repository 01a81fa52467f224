"""Options of the toy problem."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from experiments.runner.config import check_positive
from experiments.runner.methods import LOSS_BASED as WEIGHTINGS
from experiments.runner.methods import Method
from experiments.toy.problem import grid
from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.meta import METHODS as BILEVEL

# What these methods do with a loss that is not positive.
NEED_POSITIVE = {
  "gls": "the geometric mean is of positive losses",
  "famo": "it descends the logarithms of the losses",
  "gradnorm": "it compares losses with their first values as ratios",
  "imtl_l": "it brings e^s L to 1",
  "uncertainty": "L / (2 e^s) + s / 2 has no minimum over s",
  "dwa": "it compares losses of successive steps as ratios",
  "db_mtl": "it descends the logarithms of the losses",
}


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the experiment."""

  preset: Literal["quick"] = "quick"
  """There is one."""
  methods: tuple[str, ...] = (*WEIGHTINGS, *AGGREGATORS)
  """Weightings (their tasks are summed), aggregators, or weighting+aggregator, with options as in
  cagrad:c=.4."""
  scale_first: float = 1.0
  """Factor of the first loss: 1 in the CAGrad paper, 0.1 in the Nash-MTL paper."""
  offset: float = 0.0
  """Added to both losses; 25 makes them positive, as some methods need them."""
  steps: int = 50000
  """From each start."""
  learning_rate: float = 1e-3
  """Adam's, the same for every method."""
  records: int = 500
  """Points of each path that are kept."""
  workdir: str = "runs/toy"
  """Where results go."""

  def check(self) -> dict[str, str]:
    """Why methods cannot take part, by name.

    Raises:
      ValueError: naming the option, where one does not fit.
    """
    check_positive(self, "steps", "records")
    if not self.methods or len(set(self.methods)) < len(self.methods):
      raise ValueError(f"methods must name at least one, and none twice, got {self.methods}.")
    methods = {name: Method.parse(name) for name in self.methods}
    if not self.scale_first > 0:
      raise ValueError(f"scale_first must be positive, got {self.scale_first}.")
    if not 0 < self.learning_rate < math.inf:
      raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}.")
    if self.steps % self.records:
      raise ValueError(f"steps must be a multiple of records, got {self.steps} and {self.records}.")
    reasons = {}
    lowest = grid(self.scale_first, (201, 201))[1].min() + self.offset
    for name, method in methods.items():
      parts = (method.weighting, method.aggregator)
      if lowest <= 0 and (why := [NEED_POSITIVE[part] for part in parts if part in NEED_POSITIVE]):
        reasons[name] = f"{why[0]}, and these fall to {lowest:.1f}; --offset 25 lets it take part"
      if method.weighting in BILEVEL:
        reasons[name] = "it looks ahead on a second batch, and there are no batches here"
      try:
        method.build(2, None)
      except ValueError as error:
        reasons[name] = f"it does not take two tasks ({error})"
    if not set(self.methods) - set(reasons):
      raise ValueError(f"methods: none of {self.methods} can take part; {reasons}.")
    return reasons


PRESETS = {"quick": Config()}
