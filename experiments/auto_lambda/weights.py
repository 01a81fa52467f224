"""Options of learned weights."""

from __future__ import annotations

import dataclasses

# As far as one of the paper's weights can go: 1e-4 a step, NYUv2's 199 steps an epoch, 200 epochs.
# In very few steps that is more than a weight of .1 should move at once: with .02, the weight of a
# domain fell below zero in 200 steps, and its training loss rose.
_LONGEST_WAY, _LARGEST_RATE = 4.0, 0.01


@dataclasses.dataclass(frozen=True)
class WeightOptions:
  """How weights are learned."""

  weight_learning_rate: float | None = None
  """Adam's, of the weights; None: 4 over the number of steps, as on the paper's NYUv2, at most .01.
  A weight can fall below zero in weight_init over this rate steps."""
  weight_init: float = 0.1
  """Of the weights, at the start; small ones make small first steps of the network, too."""
  num_sampled: int | None = None
  """Tasks that take part in a look-ahead step, drawn anew each time; None: all."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    if self.weight_learning_rate is not None and not self.weight_learning_rate > 0:
      raise ValueError(f"weight_learning_rate must be positive, got {self.weight_learning_rate}.")
    if not self.weight_init > 0:
      raise ValueError(f"weight_init must be above 0, got {self.weight_init}.")

  def rate(self, steps: int) -> float:
    """The rate of a training of so many steps."""
    return self.weight_learning_rate or min(_LONGEST_WAY / steps, _LARGEST_RATE)

  def explain(self, steps: int) -> str:
    """Which rate is used, why, and how soon a weight may fall below zero."""
    rate, longest = self.rate(steps), f"{_LONGEST_WAY:g} over {steps} steps"
    if self.weight_learning_rate is not None:
      why = f"as given ({longest} would be {_LONGEST_WAY / steps:.2g})"
    elif rate < _LARGEST_RATE:
      why = f"{longest}, as far as the paper's weights can go on NYUv2"
    else:
      why = f"the largest taken by itself: {longest} would be {_LONGEST_WAY / steps:.2g}"
    soonest = max(1, round(self.weight_init / rate))
    return (
      f"Task weights start at {self.weight_init:g}; their learning rate is {rate:.2g}, {why}. One "
      f"that always falls is below zero after about {soonest} steps, and its task's loss is then "
      "ascended; --weight-learning-rate sets another rate."
    )
