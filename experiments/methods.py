"""Methods by name: a weighting, an aggregator, or one after the other."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from jaxmtl.aggregation import METHODS as AGGREGATORS
from jaxmtl.aggregation import Aggregator
from jaxmtl.meta import METHODS as BILEVEL
from jaxmtl.weighting import METHODS as LOSS_BASED
from jaxmtl.weighting import Weighting

WEIGHTINGS = {**LOSS_BASED, **BILEVEL}


@dataclasses.dataclass(frozen=True)
class Method:
  """What stands between losses and update: a weighting, an aggregator, or one after the other."""

  weighting: str | None = None
  aggregator: str | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Of the weighting, or of the aggregator where there is no weighting."""
  swap: bool = True
  """Whether a method that takes two batches gets two independent ones, or the same one twice."""

  @classmethod
  def parse(cls, name: str) -> Method:
    """Reads `dwa`, `pcgrad` or `dwa+pcgrad`.

    Raises:
      ValueError: for an unknown name; it lists the known ones.
    """
    first, plus, second = name.partition("+")
    if plus and first in WEIGHTINGS and second in AGGREGATORS:
      return cls(first, second)
    if not plus and first in WEIGHTINGS:
      return cls(weighting=first)
    if not plus and first in AGGREGATORS:
      return cls(aggregator=first)
    raise ValueError(
      f"method {name!r} is not known. Known weightings: {', '.join(sorted(WEIGHTINGS))}; known "
      f"aggregators: {', '.join(sorted(AGGREGATORS))}; weighting+aggregator combines two."
    )

  def build(
    self, num_tasks: int, steps_per_epoch: int
  ) -> tuple[Weighting | None, Aggregator | None]:
    """Both transforms; epochs are told to those that count them."""
    weighting = aggregator = None
    if self.weighting:
      make = WEIGHTINGS[self.weighting]
      counts = "steps_per_epoch" in inspect.signature(make).parameters
      epochs = {"steps_per_epoch": steps_per_epoch} if counts else {}
      weighting = make(num_tasks, **epochs, **self.options)
    if self.aggregator:
      options = {} if self.weighting else self.options
      aggregator = AGGREGATORS[self.aggregator](num_tasks, **options)
    return weighting, aggregator
