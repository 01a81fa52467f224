"""Which labels of experts go where."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxmtl.models.prismer.config import Config

_SEGMENTATIONS = ("seg", "seg_coco", "seg_ade")
_IDS = 256  # of instances; the last is the background
INSTANCES = "obj_instance"


def stem_of(name: str) -> str:
  """The stem that reads an expert's labels: segmentations of all data sets share one.

  Args:
    name: of the expert.

  Returns:
    The stem's name.

  Example:
    >>> from jaxmtl.models.prismer.experts import stem_of
    >>> stem_of("seg_ade"), stem_of("depth")
    ('seg', 'depth')
  """
  return "seg" if name in _SEGMENTATIONS else name


def inputs_of(
  config: Config, experts: Mapping[str, jax.Array], complete: bool = False
) -> list[tuple[str, jax.Array]]:
  """The labels that are there, in the order of the configuration, and not of the mapping.

  Args:
    config: of the Prismer.
    experts: what `Prismer.encode` is given.
    complete: whether to put zeros in the place of labels that are missing, so that variables for
      them are made.

  Returns:
    Names and labels `[B, H, W, C]`.

  Raises:
    ValueError: if there is no image, an array's shape does not fit, objects lack their numbers, or
      a name is unknown.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxmtl.models.prismer import Config
    >>> from jaxmtl.models.prismer.experts import inputs_of
    >>> inputs_of(Config.tiny(), {"rgb": jnp.ones((2, 32, 32, 3))})
    []
    >>> inputs_of(Config.tiny(), {"depth": jnp.ones((2, 32, 32, 1))})
    Traceback (most recent call last):
    ValueError: experts must hold the image as 'rgb', got only ['depth']
  """
  if "rgb" not in experts:
    raise ValueError(f"experts must hold the image as 'rgb', got only {sorted(experts)}")
  _check_image(config, experts["rgb"])
  batch = experts["rgb"].shape[0]
  found, known = [], {"rgb", INSTANCES} if "obj_detection" in config.experts else {"rgb"}
  for name, channels in config.experts.items():
    names = _SEGMENTATIONS if name == "seg" else (name,)
    known.update(names)
    there = [n for n in names if n in experts]
    for n in there:
      shape = experts[n].shape
      if len(shape) != 4 or shape[0] != batch or shape[-1] != channels:
        raise ValueError(
          f"labels of {n!r} must have shape [{batch}, H, W, {channels}], channels last, got {shape}"
        )
      found.append((n, experts[n]))
    if not there and complete:
      shape = (batch, config.image_size, config.image_size, channels)
      found.append((name, jnp.zeros(shape, experts["rgb"].dtype)))
  if unknown := sorted(set(experts) - known):
    raise ValueError(
      f"experts {unknown} are not among those of the configuration, {list(config.experts)}"
    )
  if "obj_detection" in experts:
    ids, size = experts.get(INSTANCES), experts["obj_detection"].shape[:3]
    if ids is None or ids.shape != size or not jnp.issubdtype(ids.dtype, jnp.integer):
      seen = None if ids is None else f"{ids.dtype} of shape {ids.shape}"
      raise ValueError(
        f"'obj_detection' needs the numbers of its objects, {INSTANCES!r}, integers of shape"
        f" {size}, got {seen}; 255 is the background"
      )
  return found


def _check_image(config: Config, image: jax.Array) -> None:
  if image.ndim != 4 or image.shape[-1] != 3:
    raise ValueError(f"'rgb' must have shape [B, H, W, 3], channels last, got {image.shape}")
  if min(image.shape[1:3]) < config.patch_size:
    raise ValueError(
      f"'rgb' of {image.shape[1]} x {image.shape[2]} pixels is smaller than a patch of"
      f" {config.patch_size}; resize it"
    )


def fixed_rows(num_instances: int) -> jax.Array:
  """Rows of the table of instances for their numbers, always the same: for use after training.

  Args:
    num_instances: rows of the table.

  Returns:
    int32 `[256]`: distinct for the background, 255, and up to `num_instances - 1` objects that are
    numbered from 0.

  Example:
    >>> import jax
    >>> from jaxmtl.models.prismer.experts import fixed_rows
    >>> fixed_rows(128)[jax.numpy.array([0, 1, 126, 127, 255])].tolist()
    [0, 1, 126, 0, 127]
  """
  rows = np.arange(_IDS) % max(num_instances - 1, 1)
  rows[_IDS - 1] = num_instances - 1
  return jnp.asarray(rows, jnp.int32)


def instance_rows(key: jax.Array, num_instances: int = 128) -> jax.Array:
  """Rows of the table of instances for their numbers, at random: for a batch in training.

  So no row comes to stand for the first object, or for the largest: rows say only what belongs
  together. The published program draws with replacement, and after training too; these differ from
  each other as those of `fixed_rows`.

  Args:
    key: for the draw.
    num_instances: rows of the table.

  Returns:
    int32 `[256]`, the argument `instance_rows` of `Prismer.encode`.

  Example:
    >>> import jax
    >>> from jaxmtl.models.prismer import instance_rows
    >>> rows = instance_rows(jax.random.key(0))
    >>> rows.shape, len(set(rows[:127].tolist()))
    ((256,), 127)

  Reference: Liu, "Converging Pathways", 2024, section 6.3.
  """
  return jax.random.permutation(key, num_instances)[fixed_rows(num_instances)].astype(jnp.int32)
