"""Names of methods: how unlabelled images are mixed, whether ReCo's loss is added, and options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_type_hints

from experiments.runner.methods import options_of

SUPERVISED = "supervised"
MIXINGS = ("mean_teacher", "cutout", "cutmix", "classmix")
SEGMENTATION = "segmentation"


@dataclasses.dataclass(frozen=True)
class ReCoOptions:
  """Of the loss; `classmix+reco:num_queries=64` sets one for a method."""

  num_queries: int = 256
  """Of each class and step; more make the loss less noisy, at proportional cost."""
  num_negatives: int = 512
  """Of each query."""
  temperature: float = 0.5
  """Of the contrast."""
  graph_temperature: float = 0.5
  """Of the draws of negative classes; lower keeps to classes that are alike."""
  weak_threshold: float = 0.7
  """Pixels take part whose pseudo-label is at least so sure."""
  strong_threshold: float = 0.97
  """Labels below are in doubt, and are queries; and what is surer weighs its image's
  pseudo-labels."""
  queries: Literal["hard", "random", "easy"] = "hard"
  """Pixels in doubt; any; those that are not in doubt."""
  keys: Literal["related", "random"] = "related"
  """Negatives of classes that are alike, or of any."""
  reduction: Literal["mean", "sum"] = "mean"
  """Over the classes of a batch."""
  bank: int = 0
  """Negatives are drawn from so many representations of each class, of past batches; 0: from the
  batch, as the paper prefers."""

  def check(self) -> None:
    """Raises ValueError, naming the option, where one does not fit."""
    for name in ("num_queries", "num_negatives"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
    for name in ("temperature", "graph_temperature"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
    for name in ("weak_threshold", "strong_threshold"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}.")
    if self.weak_threshold > self.strong_threshold:
      raise ValueError(
        f"weak_threshold must not be above strong_threshold, {self.strong_threshold}, got "
        f"{self.weak_threshold}: no pseudo-label would be in doubt."
      )
    for name in ("queries", "keys", "reduction"):
      known = get_args(get_type_hints(ReCoOptions)[name])
      if getattr(self, name) not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, got {getattr(self, name)!r}.")
    if self.bank < 0:
      raise ValueError(f"bank must not be negative, got {self.bank}.")


@dataclasses.dataclass(frozen=True)
class Semi:
  """A method.

  Attributes:
    name: as it was given.
    mixing: of unlabelled images; None where there are none.
    unlabelled: share of the unlabelled images that is used.
    reco: options of the loss, or None.
  """

  name: str
  mixing: str | None
  unlabelled: float
  reco: ReCoOptions | None

  @classmethod
  def parse(cls, text: str, usual: ReCoOptions) -> Semi:
    """Of `classmix:unlabelled=.1+reco:num_queries=64`.

    Raises:
      ValueError: naming the method, if it or an option is not known or out of range.

    Example:
      >>> from experiments.reco.methods import ReCoOptions, Semi
      >>> method = Semi.parse("classmix+reco:num_queries=64", ReCoOptions())
      >>> method.mixing, method.reco.num_queries
      ('classmix', 64)
    """
    found = re.fullmatch(r"([a-z_]+(?::[^+]*)?)(\+reco(?::.*)?)?", text)
    name, given = options_of(found[1]) if found else ("", {})
    if name not in (SUPERVISED, *MIXINGS):
      raise ValueError(
        f"method must be {', '.join((SUPERVISED, *MIXINGS))}, perhaps with +reco, got {text!r}."
      )
    share = given.pop("unlabelled", 1.0)
    if given or (name == SUPERVISED and share != 1.0):
      wrong = next(iter(given), "unlabelled")
      raise ValueError(f"method {text!r}: {name} has no option {wrong!r}.")
    if not isinstance(share, int | float) or not 0 < share <= 1:
      raise ValueError(f"method {text!r}: unlabelled must be above 0 and at most 1, got {share!r}.")
    reco = None if found is None or found[2] is None else _reco(text, found[2][1:], usual)
    return cls(text, None if name == SUPERVISED else name, float(share), reco)

  @property
  def identity(self) -> Mapping[str, Any]:
    """What a training by it depends on."""
    found: dict[str, Any] = {"mixing": self.mixing, "unlabelled": self.unlabelled, "reco": None}
    if self.reco is not None:
      found["reco"] = dataclasses.asdict(self.reco)
    return {"method": found}


def _reco(text: str, part: str, usual: ReCoOptions) -> ReCoOptions:
  _, given = options_of(part)
  known = {field.name: getattr(usual, field.name) for field in dataclasses.fields(ReCoOptions)}
  for name, value in given.items():
    if name not in known:
      raise ValueError(f"method {text!r}: reco has no option {name!r}; {', '.join(known)} it has.")
    wanted = (int, float) if isinstance(known[name], float) else type(known[name])
    if not isinstance(value, wanted) or isinstance(value, bool):
      raise ValueError(f"method {text!r}: {name} cannot be {value!r}.")
  made = dataclasses.replace(usual, **given)
  try:
    made.check()
  except ValueError as error:
    raise ValueError(f"method {text!r}: {error}") from None
  return made
