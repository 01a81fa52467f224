"""What every backbone is: a stem, stages of blocks that can be run one by one, and a readout."""

import flax.linen as nn
import jax


class Backbone(nn.Module):
  """Images in, features out, by a stem, stages of blocks, and a readout.

  `backbone(images)` runs all of it. Multi-task architectures that join networks between stages, or
  attend to what a stage computes, run the parts themselves, by their methods (inside `apply`, with
  `method=`): `readout(stage(3, ... stage(0, stem(images))))`. A stage is `block(s, 0)` to
  `block(s, stage_sizes[s] - 1)` one after another. Values between the parts are maps `[B, H, W, C]`
  or, in vision transformers and mixers, tokens `[B, N, C]`, of which `as_map` makes maps.

  `train` chooses the batch's statistics in batch normalization (then `batch_stats` must be
  mutable), dropout and stochastic depth (then the random stream `dropout` is needed).

  A subclass defines `stage_sizes`, `stem`, `block` and `readout`; its parameters are made by the
  parts that are run.

  Returns:
    When called with images `[B, H, W, C]`, features `[B, D]`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from jaxmtl import models
    >>> backbone = models.create("resnet18", output_stride=8)
    >>> images = jnp.ones((1, 64, 64, 3))
    >>> variables = jax.eval_shape(backbone.init, jax.random.key(0), images)
    >>> def maps(variables, images):
    ...   return backbone.apply(variables, images, method="maps")
    >>> [x.shape for x in jax.eval_shape(maps, variables, images)]
    [(1, 16, 16, 64), (1, 8, 8, 128), (1, 8, 8, 256), (1, 8, 8, 512)]
  """

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Number of blocks of each stage."""
    raise NotImplementedError

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to what the first stage takes."""
    raise NotImplementedError

  def block(self, stage: int, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run one block of a stage."""
    raise NotImplementedError

  def readout(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Map the last stage's output to features `[B, D]`."""
    raise NotImplementedError

  def as_map(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Values after a stage, for images of this height and width, as maps `[B, H, W, C]`."""
    return x

  def stage(self, index: int, x: jax.Array, train: bool = False) -> jax.Array:
    """Run all blocks of one stage."""
    for i in range(self.stage_sizes[index]):
      x = self.block(index, i, x, train)
    return x

  def maps(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
    """Compute every stage's output, as maps `[B, H, W, C]`, for dense prediction."""
    x, outputs = self.stem(images, train), []
    for index in range(len(self.stage_sizes)):
      x = self.stage(index, x, train)
      outputs.append(self.as_map(x, (images.shape[1], images.shape[2])))
    return tuple(outputs)

  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Map images `[B, H, W, C]` to features `[B, D]`."""
    x = self.stem(images, train)
    for index in range(len(self.stage_sizes)):
      x = self.stage(index, x, train)
    return self.readout(x, train)
