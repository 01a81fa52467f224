"""Networks that are compared, by name: PrismerZ, Prismer, and either with something changed."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiments.runner.methods import options_of
from jaxmtl.data.experts import KINDS

PLAIN, FULL = "prismerz", "prismer"
FREEZING = ("none", "freeze_lang", "freeze_vision", "freeze_lang_vision")
# Of the network's options that a variant may change: names here and what they must be.
_WHOLE = {"latents": 1, "layers": 1, "noise": 0}
_KNOWN = ("experts", "corrupt", "noise", "adaptors", "latents", "layers", "freeze")


@dataclasses.dataclass(frozen=True)
class Variant:
  """One network of a comparison."""

  name: str
  """As it was written."""
  experts: tuple[str, ...]
  """Whose labels it reads."""
  corrupt: float = 0.0
  """Share of the pixels of all labels that are noise."""
  noise: int = 0
  """Experts more, that say nothing but noise."""
  adaptors: bool = True
  latents: int | None = None
  """Of the resampler; None: as the others have."""
  layers: int | None = None
  """Of the resampler."""
  freeze: str | None = None
  """Which backbones stay as they are; None: as the others."""

  @classmethod
  def parse(cls, name: str, experts: tuple[str, ...]) -> Variant:
    """Reads `prismerz`, `prismer`, `prismer:experts=depth+edge,corrupt=.5,latents=4`.

    Args:
      name: of the network.
      experts: that there are.

    Raises:
      ValueError: saying which part does not fit.

    Example:
      >>> from experiments.prismer.variants import Variant
      >>> Variant.parse("prismer:experts=edge,noise=2", ("depth", "edge")).experts
      ('edge',)
    """
    kind, options = options_of(name)
    if kind not in (PLAIN, FULL):
      raise ValueError(f"variant {name!r} must begin with {FULL} or {PLAIN}.")
    if unknown := [option for option in options if option not in _KNOWN]:
      raise ValueError(
        f"variant {name!r} has no option {unknown[0]!r}; there are {', '.join(_KNOWN)}."
      )
    if kind == PLAIN and "experts" in options:
      raise ValueError(f"variant {name!r}: {PLAIN} has no experts; write {FULL}.")
    chosen = () if kind == PLAIN else _chosen(name, options.pop("experts", None), experts)
    found = cls(name, chosen, **options)
    found._check()
    return found

  def _check(self) -> None:
    for option, least in _WHOLE.items():
      value = getattr(self, option)
      if value is not None and (type(value) is not int or value < least):
        raise ValueError(f"variant {self.name!r}: {option} must be at least {least}, got {value}.")
    if not isinstance(self.corrupt, int | float) or not 0 <= self.corrupt <= 1:
      raise ValueError(f"variant {self.name!r}: corrupt must be from 0 to 1, got {self.corrupt}.")
    if not isinstance(self.adaptors, bool):
      raise ValueError(f"variant {self.name!r}: adaptors must be True or False.")
    if self.freeze not in (None, *FREEZING):
      raise ValueError(
        f"variant {self.name!r}: freeze must be one of {', '.join(FREEZING)}, got {self.freeze!r}."
      )

  @property
  def noises(self) -> tuple[str, ...]:
    """Names of the experts that say nothing."""
    return tuple(f"noise_{i + 1}" for i in range(self.noise))

  @property
  def identity(self) -> dict[str, Any]:
    """What a job with this network depends on."""
    return {"variant": {k: v for k, v in dataclasses.asdict(self).items() if k != "name"}}


def _chosen(name: str, given: Any, experts: tuple[str, ...]) -> tuple[str, ...]:
  if given is None:
    if not experts:
      raise ValueError(
        f"variant {name!r} needs experts, and --experts names none; {PLAIN} does without."
      )
    return experts
  wanted = tuple(str(given).split("+"))
  if unknown := [one for one in wanted if one not in experts]:
    known = ", ".join(experts) or "none"
    hint = "" if unknown[0] in KINDS else f"; known ones are {', '.join(KINDS)}"
    raise ValueError(f"variant {name!r}: {unknown[0]!r} is not among the experts, {known}{hint}.")
  return tuple(one for one in experts if one in wanted)
