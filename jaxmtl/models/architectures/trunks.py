"""What cross-stitch networks and learning to branch share: one trunk a task, joined by stages."""

from collections.abc import Sequence

import jax

from jaxmtl.models.architecture import Architecture
from jaxmtl.models.architectures.gates import mix


class Trunks(Architecture):
  """One backbone a task; from some stage on each reads a weighted sum of all trunks' values.

  A subclass says by which weights, and from which stage on: from the second, so that the stem
  counts to the first, or from the first. Tasks are numbered in the order of their sorted names.
  """

  by_stages = True

  @property
  def first_joined(self) -> int:
    """The first stage that reads other trunks' values."""
    return 1

  def setup(self) -> None:
    """Make the trunks."""
    self.trunks = dict(zip(sorted(self.heads), self.copies(len(self.heads)), strict=True))

  def weights(self, stage: int, train: bool) -> jax.Array:
    """`[T, T]`: how much of each trunk (column) every trunk (row) reads before a stage."""
    raise NotImplementedError

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Run all trunks stage by stage; in the last stage only the wanted ones."""
    names = list(self.trunks)
    values = {name: trunk.stem(images, train) for name, trunk in self.trunks.items()}
    last = self.num_stages - 1
    for stage in range(self.num_stages):
      if stage >= self.first_joined:
        weights, parents = self.weights(stage, train), [values[name] for name in names]
        values = {name: mix(row, parents) for name, row in zip(names, weights, strict=True)}
      values = {
        name: self.trunks[name].stage(stage, values[name], train)
        for name in (tasks if stage == last else names)
      }
    return {task: self.read_out(self.trunks[task], values[task], images, train) for task in tasks}
