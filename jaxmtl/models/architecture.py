"""What every multi-task architecture is: images in, every task's output out."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmtl.models.backbone import Backbone
from jaxmtl.models.resize import resize_aligned

# First words of the top-level names of parameters that several tasks see.
SHARED = ("backbone", "experts", "trunks", "stitches", "branches", "bottlenecks")
PENALTIES = "losses"
HEAD = "heads_"


class Architecture(nn.Module):
  """A backbone, or several of its kind, and a head for every task.

  Every architecture is called as `architecture(images, train=False)`, in two forms that have the
  same parameters. Single-input: images `[B, H, W, C]`, of which every task's output is wanted.
  Multi-input: a dict of images by task, one data set a task; each task's images give that task's
  output only. They pass one task after the other, so that batch normalization takes each data set's
  own statistics while training, and the running ones move once a task.

  `train=True` needs `batch_stats` mutable where there is batch normalization, and the random stream
  `dropout` where the backbone, a head or the architecture draws at random.

  Args:
    backbone: module called as `backbone(images, train=...)`, giving features; the pattern of which
      the architecture makes as many copies as it needs, each initialised by itself.
    heads: head modules by task name; their outputs may have any shape. One whose `__call__` has a
      parameter `train` gets it.
    on_maps: whether heads read the last stage's map `[B, H, W, C]`, as decoders of dense tasks and
      of the FastCAR paper do, and not the features `[B, D]`.
    upsample: whether outputs are maps `[B, H', W', K]` that are resized, with aligned corners, to
      the images' height and width, as of dense tasks.

  Returns:
    When called, a dict from task name to the head's output.

  Raises:
    ValueError: when made without heads, or with a backbone that lacks the stages it needs.
  """

  backbone: nn.Module
  heads: Mapping[str, nn.Module]
  on_maps: bool = False
  upsample: bool = False

  by_stages: ClassVar[bool] = False
  """Whether it looks between the backbone's stages."""

  def __post_init__(self) -> None:
    """Check the backbone."""
    kind, given = type(self).__name__, type(self.backbone).__name__
    if not self.heads:
      raise ValueError(f"heads of {kind} must name at least one task, got none")
    if (self.by_stages or self.on_maps) and not isinstance(self.backbone, Backbone):
      need = f"{kind} needs" if self.by_stages else "on_maps=True needs"
      raise ValueError(
        f"{need} a backbone with stages (models.Backbone, as models.create makes), got {given}"
      )
    if self.by_stages and len(self.backbone.stage_sizes) < 2:
      raise ValueError(f"{kind} needs a backbone of at least two stages, got {given} with one")
    super().__post_init__()

  def __call__(
    self, images: jax.Array | Mapping[str, jax.Array], train: bool = False
  ) -> dict[str, Any]:
    """Compute outputs by task, of the same images or of each task's own."""
    if not isinstance(images, Mapping):
      return self._outputs(images, tuple(self.heads), train)
    wrong = sorted(set(images) - set(self.heads)) or (
      self.is_initializing() and sorted(set(self.heads) - set(images))
    )
    if wrong:
      raise ValueError(
        f"images must be given by task: {', '.join(self.heads)} (all of them to initialise), got "
        f"{', '.join(images)}"
      )
    return {t: self._outputs(own, (t,), train)[t] for t, own in images.items()}

  def _outputs(self, images: jax.Array, tasks: tuple[str, ...], train: bool) -> dict[str, Any]:
    return self._read(self.features(images, tasks, train), images, train)

  def with_features(
    self, images: jax.Array, train: bool = False
  ) -> tuple[dict[str, Any], dict[str, jax.Array]]:
    """Compute outputs by task, and what the heads read, for losses that look at features."""
    features = self.features(images, tuple(self.heads), train)
    return self._read(features, images, train), features

  def _read(
    self, features: Mapping[str, jax.Array], images: jax.Array, train: bool
  ) -> dict[str, Any]:
    found = {task: self.head(task, x, train) for task, x in features.items()}
    if not self.upsample:
      return found
    return {t: resize_aligned(x, (images.shape[1], images.shape[2])) for t, x in found.items()}

  def features(
    self, images: jax.Array, tasks: Sequence[str], train: bool = False
  ) -> dict[str, jax.Array]:
    """Compute what the heads of these tasks read."""
    raise NotImplementedError

  def head(self, task: str, features: Any, train: bool = False) -> Any:
    """Compute one task's output from what its head reads."""
    head = self.heads[task]
    return head(features, train=train) if _takes_train(head) else head(features)

  @property
  def num_stages(self) -> int:
    """Number of the backbone's stages."""
    return len(self.backbone.stage_sizes)

  # Copies are modules of their own, traced one by one, not one module under `nn.vmap`. On a CPU a
  # convolution with batched kernels is several times slower than as many plain ones; elsewhere it
  # becomes a grouped one, which is no faster. And each copy's variables stay those of a backbone,
  # into which pre-trained weights go.
  def copies(self, number: int) -> list[Any]:
    """So many copies of the backbone, each with parameters of its own."""
    return [self.backbone.copy(parent=None) for _ in range(number)]

  def encode_with(self, backbone: Any, images: jax.Array, train: bool) -> jax.Array:
    """All of a backbone: what heads read."""
    return backbone.maps(images, train)[-1] if self.on_maps else backbone(images, train=train)

  def read_out(self, backbone: Any, x: jax.Array, images: jax.Array, train: bool) -> jax.Array:
    """What heads read, from the value after a backbone's last stage."""
    if self.on_maps:
      return backbone.as_map(x, (images.shape[1], images.shape[2]))
    return backbone.readout(x, train)


def shared_mask(params: Any) -> Any:
  """Tell parameters that several tasks see from those that belong to one task.

  Shared are, by the first word of their name at the top: `backbone` (hard parameter sharing, MTAN),
  `bottlenecks` (MTAN), `experts` (MMoE, CGC, PLE, DSelect-k), `trunks`, `stitches` (cross-stitch)
  and `branches` (learning to branch). Heads, gates, attention modules and a task's own experts are
  not; no other task's loss reaches them.

  Args:
    params: the `params` collection of an architecture: of a `MultiHead` or another one.

  Returns:
    A pytree of its structure with True for shared leaves.

  Raises:
    ValueError: if `params` has none of these at its top.

  Example:
    >>> from jaxmtl.models import shared_mask
    >>> shared_mask({"backbone": {"kernel": 1.0}, "heads_digit": {"bias": 2.0}})
    {'backbone': {'kernel': True}, 'heads_digit': {'bias': False}}
  """
  shared = {name: name.split("_")[0] in SHARED for name in params}
  if not any(shared.values()):
    raise ValueError(
      f"params must be the 'params' collection of a multi-task architecture, with 'backbone' at its"
      f" top, or names that begin with {', '.join(SHARED[1:])}; got {sorted(params)}"
    )
  return {
    name: jax.tree.map(lambda _, answer=shared[name]: answer, subtree)
    for name, subtree in params.items()
  }


def drop_heads(variables: Mapping[str, Any], *names: str) -> dict[str, Any]:
  """Remove heads from a `MultiHead`'s variables, as auxiliary heads are after training.

  Args:
    variables: collections (`params`, `batch_stats`, ...) of a `MultiHead`.
    *names: names of the heads to remove.

  Returns:
    The variables of a `MultiHead` built without these heads: its other predictions are the same.

  Raises:
    ValueError: if there is no such head.

  Example:
    >>> from jaxmtl.models import drop_heads
    >>> params = {"backbone": {"a": 1.0}, "heads_main": {"b": 2.0}, "heads_aux": {"c": 3.0}}
    >>> drop_heads({"params": params}, "aux")
    {'params': {'backbone': {'a': 1.0}, 'heads_main': {'b': 2.0}}}
  """
  known = [key.removeprefix(HEAD) for key in variables["params"] if key.startswith(HEAD)]
  if unknown := [name for name in names if name not in known]:
    raise ValueError(f"no head named {unknown}; the variables hold heads {known}")
  dropped = {HEAD + name for name in names}
  return {
    collection: {key: value for key, value in tree.items() if key not in dropped}
    for collection, tree in variables.items()
  }


def task_penalties(updated: Mapping[str, Any], tasks: Sequence[str]) -> jax.Array:
  """What an architecture adds to its tasks' losses: DSelect-k's entropies, and nothing elsewhere.

  Penalties are sown into the collection `losses` of a call with `mutable=[..., "losses"]`.

  Args:
    updated: the collections that such a call returned beside the outputs.
    tasks: T names, in the order of the losses.

  Returns:
    Float32 `[T]`; add it to the losses before any weighting.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models import task_penalties
    >>> task_penalties({"losses": {"digit": jnp.array(0.5)}}, ["digit", "parity"]).tolist()
    [0.5, 0.0]
  """
  sown = updated.get(PENALTIES, {})
  return jnp.stack([jnp.asarray(sown.get(task, 0.0), jnp.float32) for task in tasks])


def _takes_train(head: nn.Module) -> bool:
  """Whether the head's `__call__` names a parameter `train`."""
  return "train" in inspect.signature(type(head).__call__).parameters
