"""Digit scenes with captions, questions and exact experts: vision and language, no download."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from jaxmtl.data.embedded import digits
from jaxmtl.data.experts.files import shortened
from jaxmtl.data.experts.layout import BACKGROUND
from jaxmtl.data.experts.side_files import NO_CLASS
from jaxmtl.data.experts.tables import orthogonal_features
from jaxmtl.data.scene_drawing import COLORS, Scene, draw_scene, textures
from jaxmtl.data.scene_sentences import Question, captions, questions

_PARTS = ("train", "validation", "test")
SCENE_EXPERTS = {"depth": 1, "edge": 1, "seg": 64, "obj_detection": 64}
"""Experts of `captioned_scenes` and the channels of their labels, for `prismer.Config`."""


class CaptionedScenes(NamedTuple):
  """Scenes, what experts say about them, and what people might.

  Attributes:
    examples: in the form of `experts.ExpertFiles.load`: uint8 `rgb` `[N, S, S, 3]`, `depth`,
      `edge`, `seg` and `obj_detection` `[N, S, S, 1]`, `obj_detection_classes` int16 `[N, digits]`,
      and `size` int32 `[N, 2]`.
    captions: five of each image.
    questions: about the images, in their order.
  """

  examples: dict[str, np.ndarray]
  captions: tuple[tuple[str, ...], ...]
  questions: tuple[Question, ...]


def captioned_scenes(
  num_images: int = 4000,
  side: int = 64,
  seed: int = 0,
  *,
  part: Literal["train", "validation", "test"] = "train",
  most: int = 3,
  most_questions: int = 4,
) -> CaptionedScenes:
  """Draws scenes of one digit or more in different colours; nearer ones hide those behind.

  Sentences follow from what was drawn by rules: numbers, colours, digits, places, sizes, and what
  is in front where digits overlap. Experts are right at every pixel: `depth` says which digit is
  nearer (the ground is farthest, 0), `edge` draws outlines, dark on white, `seg` has digits as
  classes, `obj_detection` has filled boxes, smaller ones in front. No sample of scikit-learn's
  digits is in two parts.

  Args:
    num_images: how many; the first ones are the same however many follow.
    side: height and width in pixels, at least 24.
    seed: of all of it.
    part: whose digits are used.
    most: digits in a scene, from 1 to 6.
    most_questions: about a scene.

  Returns:
    The scenes.

  Raises:
    ValueError: if a number is out of range, or the part is not known.

  Example:
    >>> from jaxmtl.data import captioned_scenes
    >>> made = captioned_scenes(2, 32)
    >>> made.examples["rgb"].shape, made.examples["seg"].shape, len(made.captions[0])
    ((2, 32, 32, 3), (2, 32, 32, 1), 5)
    >>> made.questions[0].question.endswith("?")
    True
  """
  if num_images < 1 or side < 24 or not 1 <= most < len(COLORS) or most_questions < 0:
    raise ValueError(
      "num_images must be at least 1, side at least 24, most from 1 to 6, most_questions at least"
      f" 0, got {num_images}, {side}, {most}, {most_questions}."
    )
  if part not in _PARTS:
    raise ValueError(f"part must be train, validation or test, got {part!r}.")
  number = _PARTS.index(part)
  source, grounds = digits()[number], textures(side)
  found: list[dict[str, np.ndarray]] = []
  told, asked = [], []
  for i in range(num_images):
    rng = np.random.default_rng([seed, number, i])
    scene = draw_scene(rng, source.images[..., 0], source.labels, grounds, most)
    found.append(_labels(rng, scene, most))
    told.append(captions(rng, scene))
    asked += questions(rng, scene, i, most_questions)
  examples = {name: np.stack([example[name] for example in found]) for name in found[0]}
  return CaptionedScenes(shortened(examples), tuple(told), tuple(asked))


def scene_features(channels: int = 64) -> dict[str, np.ndarray]:
  """The tables of features of `captioned_scenes`' classes: vectors at right angles.

  Args:
    channels: of the features, at least 11.

  Returns:
    float32 `[11, channels]` by expert, the last row that of pixels without a digit; the argument
    `tables` of `experts.model_inputs`.

  Example:
    >>> from jaxmtl.data import scene_features
    >>> {name: table.shape for name, table in scene_features().items()}
    {'seg': (11, 64), 'obj_detection': (11, 64)}
  """
  table = orthogonal_features(10, channels)
  return {"seg": table, "obj_detection": table}


def _labels(rng: np.random.Generator, scene: Scene, most: int) -> dict[str, Any]:
  """What experts say, exactly."""
  owner, count = scene.owner, len(scene.digits)
  classes = np.array([d.digit for d in scene.digits])
  depth = np.append(np.round(255 * np.arange(1, count + 1) / count), 0)
  # An owner of -1, the ground, takes the last entry.
  seg = np.append(classes, BACKGROUND)[owner]
  outline = np.zeros(owner.shape, bool)
  outline[:, 1:] |= owner[:, 1:] != owner[:, :-1]
  outline[1:] |= owner[1:] != owner[:-1]
  boxes = np.full(owner.shape, BACKGROUND, np.uint8)
  side_table = np.full(most, NO_CLASS, np.int16)
  numbers = rng.permutation(count)  # not those of the depth
  areas = (scene.boxes[:, 2] - scene.boxes[:, 0]) * (scene.boxes[:, 3] - scene.boxes[:, 1])
  for i in np.argsort(-areas, kind="stable"):
    top, left, bottom, right = scene.boxes[i]
    boxes[top:bottom, left:right] = numbers[i]
    side_table[numbers[i]] = classes[i]
  maps = {"depth": depth[owner], "edge": np.where(outline, 0, 255), "seg": seg}
  return {
    "rgb": scene.rgb,
    "size": np.array(owner.shape, np.int32),
    **{name: values.astype(np.uint8)[..., None] for name, values in maps.items()},
    "obj_detection": boxes[..., None],
    "obj_detection_classes": side_table,
  }
