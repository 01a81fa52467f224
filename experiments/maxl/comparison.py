"""What is compared: methods, primary tasks and hierarchies that fit the data set's levels."""

from __future__ import annotations

from typing import NamedTuple

from experiments.maxl.config import Config
from experiments.maxl.data import level_name
from experiments.maxl.labels import Setting, has_levels, parse_psi
from experiments.problems.images import ImageTasks
from experiments.runner.report import SINGLE

NAMES = {
  "single": SINGLE,
  "random": "Random",
  "kmeans": "K-Means",
  "human": "Human",
  "maxl": "MAXL",
  "maxl_no_entropy": "MAXL, no entropy term",
}


class Comparison(NamedTuple):
  """What is trained.

  Attributes:
    methods: by name.
    primary: number of classes by primary task.
    settings: the hierarchies.
    psi: as they were asked for.
    seeds: of the runs of a hierarchy.
  """

  methods: list[str]
  primary: dict[str, int]
  settings: list[Setting]
  psi: tuple[str, ...]
  seeds: list[int]

  def runs_of(self, method: str, index: int) -> slice:
    """The runs of a hierarchy; single-task training has the same ones in all."""
    first = 0 if method == "single" else index * len(self.seeds)
    return slice(first, first + len(self.seeds))


def compared(config: Config, images: ImageTasks) -> Comparison:
  """Checks the options against the data set's levels."""
  levels = [task.classes for task in images.tasks.values()]
  finest, dataset = max(levels), config.data.dataset
  classes = config.primary or {"digits": (2,), "cifar100": (20,)}.get(config.data.base, (finest,))
  if [n for n in classes if n not in levels] or len(set(classes)) < len(classes):
    raise ValueError(
      f"primary must be different levels of {dataset!r}, which has "
      f"{', '.join(map(str, levels))} classes, got {list(classes)}."
    )
  primary = {level_name(n): n for n in classes}
  texts = config.psi or (("5",) if finest > max(classes) else ("2", "3", "5", "10"))
  settings = [parse_psi(text, primary, config.run.all_seeds) for text in texts]
  if len({setting.name for setting in settings}) < len(settings):
    raise ValueError(f"psi must be different hierarchies, got {list(texts)}.")
  given = all(has_levels(setting, primary, levels) for setting in settings)
  if "human" in config.methods and not given:
    finer = [n for n in levels if n > min(classes)]
    raise ValueError(
      f"method human needs given labels with as many classes as psi has in all; {dataset!r} "
      f"has {finer or 'none'}, psi {[list(s.totals.values()) for s in settings]}. Leave human out, "
      "or choose another psi."
    )
  every = ("single", "random", "kmeans", "human", "maxl")
  methods = config.methods or [m for m in every if m != "human" or given]
  return Comparison(list(methods), primary, settings, texts, config.run.all_seeds)
