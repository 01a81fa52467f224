"""A room with furniture, a camera and a light, drawn at random."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

ROOM_CLASSES = (
  *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects"),
  *("picture", "sofa", "table", "tv", "wall", "window"),
)
"""The thirteen classes of NYUv2 as multi-task papers use them, in its order."""
_CLASS = {name: i for i, name in enumerate(ROOM_CLASSES)}
_MOST = {"box": 36, "sphere": 4, "cylinder": 10}
# Colours that each class is drawn near, so that colour tells a little and not all.
_COLOURS = {
  "bed": [(0.75, 0.7, 0.8), (0.45, 0.5, 0.7), (0.8, 0.75, 0.6)],
  "books": [(0.7, 0.2, 0.2), (0.2, 0.35, 0.6), (0.2, 0.5, 0.3), (0.75, 0.6, 0.2)],
  "ceiling": [(0.9, 0.9, 0.88)],
  "chair": [(0.5, 0.33, 0.2), (0.3, 0.3, 0.32), (0.65, 0.5, 0.3)],
  "floor": [(0.55, 0.4, 0.27), (0.5, 0.5, 0.5), (0.6, 0.55, 0.45)],
  "furniture": [(0.55, 0.4, 0.27), (0.8, 0.78, 0.72), (0.35, 0.25, 0.2)],
  "objects": [(0.8, 0.3, 0.2), (0.2, 0.6, 0.6), (0.85, 0.8, 0.4), (0.6, 0.6, 0.65)],
  "picture": [(0.6, 0.45, 0.3), (0.3, 0.45, 0.6), (0.5, 0.6, 0.4)],
  "sofa": [(0.5, 0.25, 0.22), (0.35, 0.4, 0.45), (0.6, 0.55, 0.45)],
  "table": [(0.5, 0.35, 0.2), (0.7, 0.6, 0.45), (0.3, 0.22, 0.18)],
  "tv": [(0.06, 0.06, 0.08)],
  "wall": [(0.8, 0.78, 0.7), (0.7, 0.75, 0.78), (0.8, 0.7, 0.65), (0.65, 0.7, 0.6)],
  "window": [(0.85, 0.92, 1.0)],
}


@dataclasses.dataclass
class _Things:
  """What a room holds so far; every part of a thing belongs to its surface."""

  rng: np.random.Generator
  parts: dict[str, list[dict[str, Any]]]

  def add(self, kind: str, name: str, centre: Any, half: Any, yaw: float, look: dict) -> None:
    """Adds a part, where there is still room for it."""
    if len(self.parts[kind]) < _MOST[kind]:
      part = {"centre": centre, "half": half, "yaw": yaw, "label": _CLASS[name], **look}
      self.parts[kind].append(part)

  def look(self, name: str, pattern: int | None = None, **changes: Any) -> dict[str, Any]:
    """A colour near one of the class's, and a pattern."""
    rng = self.rng
    choices = _COLOURS[name]
    colour = np.array(choices[rng.integers(len(choices))]) + rng.normal(size=3) * 0.06
    look = {
      "colour": np.clip(colour * rng.uniform(0.75, 1.15), 0.03, 1),
      "pattern": int(rng.integers(5)) if pattern is None else pattern,
      "scale": rng.uniform(2, 9),
      "contrast": rng.uniform(0.1, 0.6),
      "glow": 0.0,
      "unlabelled": bool(rng.random() < 0.04),
    }
    return look | changes


def scene_of(rng: np.random.Generator) -> dict[str, Any]:
  """A furnished room, a camera and a light, as `cast` takes them, with labels by surface."""
  half = np.array([rng.uniform(1.6, 3.0), rng.uniform(2.3, 3.0), rng.uniform(1.8, 3.5)])
  things = _Things(rng, {kind: [] for kind in _MOST})
  _furnish(things, half)
  # The camera stands in a corner's quarter and looks across the room.
  corner = rng.choice([-1, 1], 2)
  camera = np.array(
    [
      corner[0] * (half[0] - rng.uniform(0.25, 0.9)),
      rng.uniform(1.1, 1.7),
      corner[1] * (half[2] - rng.uniform(0.25, 0.9)),
    ]
  )
  target = np.array([rng.uniform(-0.5, 0.5) * half[0], 0, rng.uniform(-0.5, 0.5) * half[2]])
  across = target - camera
  room = [
    things.look("floor", int(rng.choice([0, 2, 3])), unlabelled=False),
    things.look("ceiling", 0, unlabelled=False),
    things.look(
      "wall", int(rng.choice([0, 0, 1, 4])), contrast=rng.uniform(0, 0.25), unlabelled=False
    ),
  ]
  for part, name in zip(room, ("floor", "ceiling", "wall"), strict=True):
    part["label"] = _CLASS[name]
  surfaces = list(room)
  scene: dict[str, Any] = {
    "room": half,
    "camera": camera,
    "turn": np.arctan2(-across[0], -across[2]),
    "tilt": rng.uniform(-0.45, -0.05),
    "focal": rng.uniform(0.8, 1.1),
    "light": np.array(
      [rng.uniform(-0.6, 0.6) * half[0], half[1] - 0.15, rng.uniform(-0.6, 0.6) * half[2]]
    ),
    "ambient": np.array(rng.uniform(0.2, 0.4)),
  }
  for kind, most in _MOST.items():
    parts = things.parts[kind]
    padded = parts + [_nothing()] * (most - len(parts))
    scene[kind] = {
      "centre": np.array([p["centre"] for p in padded], np.float32),
      "half": np.array([p["half"] for p in padded], np.float32),
      "yaw": np.array([p["yaw"] for p in padded], np.float32),
      "there": np.arange(most) < len(parts),
    }
    surfaces += padded
  for name in ("colour", "scale", "contrast", "glow"):
    scene[name] = np.array([s[name] for s in surfaces], np.float32)
  scene["pattern"] = np.array([s["pattern"] for s in surfaces], np.int32)
  scene["label"] = np.array([s["label"] for s in surfaces], np.int32)
  scene["unlabelled"] = np.array([s["unlabelled"] for s in surfaces], bool)
  singles = ("room", "camera", "turn", "tilt", "focal", "light", "ambient")
  return scene | {k: np.asarray(scene[k], np.float32) for k in singles}


def _nothing() -> dict[str, Any]:
  return {
    **{"centre": np.zeros(3), "half": np.ones(3), "yaw": 0.0, "label": -1, "unlabelled": False},
    **{"colour": np.zeros(3), "pattern": 0, "scale": 1.0, "contrast": 0.0, "glow": 0.0},
  }


def _furnish(things: _Things, half: np.ndarray) -> None:
  """Large things along the walls, chairs and a table in the middle, flat things on the walls."""
  rng = things.rng
  # Places along the walls: a wall, and a part of it, so that nothing overlaps.
  places = [(wall, part) for wall in range(4) for part in (-1, 1)]
  rng.shuffle(places)
  makers = [_bed, _sofa, _cabinet, _cabinet, _shelf, _tv_stand, _side_table]
  for (wall, part), which in zip(places, rng.permutation(len(makers)), strict=False):
    if rng.random() < 0.75:
      makers[which](things, *_against(half, wall, part, rng))
  if rng.random() < 0.8:
    _table_and_chairs(things, rng.uniform(-0.35, 0.35, 2) * half[::2], half)
  for wall in range(4):
    for part in (-1, 1):
      if rng.random() < 0.55:
        _on_wall(things, half, wall, part)


def _against(half: np.ndarray, wall: int, part: int, rng: np.random.Generator) -> tuple[Any, float]:
  """A place on the floor at a wall (where the thing's back is), and the turn away from it."""
  along = part * rng.uniform(0.3, 0.62)
  spots = [
    (along * half[0], -half[2], 0.0),
    (along * half[0], half[2], np.pi),
    (-half[0], along * half[2], np.pi / 2),
    (half[0], along * half[2], -np.pi / 2),
  ]
  x, z, yaw = spots[wall]
  return np.array([x, 0.0, z]), yaw


def _placed(base: np.ndarray, yaw: float, offset: Any) -> np.ndarray:
  """A point given in a thing's coordinates: x along the wall, z into the room."""
  x, y, z = offset
  return base + np.array([np.cos(yaw) * x + np.sin(yaw) * z, y, np.cos(yaw) * z - np.sin(yaw) * x])


def _above(point: np.ndarray, height: float) -> np.ndarray:
  return point + np.array([0, height, 0])


def _block(
  things: _Things, name: str, base: Any, yaw: float, offset: Any, half: Any, look: Any
) -> None:
  """A box of a thing, in the thing's coordinates."""
  things.add("box", name, _placed(base, yaw, offset), np.array(half), yaw, look)


def _bed(things: _Things, base: np.ndarray, yaw: float) -> None:
  rng = things.rng
  w, length, h = rng.uniform(0.45, 0.75), rng.uniform(0.85, 1.0), rng.uniform(0.2, 0.3)
  look = things.look("bed")
  _block(things, "bed", base, yaw, (0, h, length), (w, h, length), look)
  _block(things, "bed", base, yaw, (0, 2 * h + 0.06, 0.25), (0.8 * w, 0.06, 0.18), look)
  _block(things, "furniture", base, yaw, (0, 0.45, 0.03), (w, 0.45, 0.03), things.look("furniture"))


def _sofa(things: _Things, base: np.ndarray, yaw: float) -> None:
  w, look = things.rng.uniform(0.6, 0.95), things.look("sofa")
  _block(things, "sofa", base, yaw, (0, 0.21, 0.42), (w, 0.21, 0.4), look)
  _block(things, "sofa", base, yaw, (0, 0.6, 0.12), (w, 0.22, 0.12), look)
  for side in (-1, 1):
    _block(things, "sofa", base, yaw, (side * (w - 0.09), 0.5, 0.45), (0.09, 0.12, 0.37), look)


def _cabinet(things: _Things, base: np.ndarray, yaw: float) -> None:
  rng = things.rng
  w, h, d = rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.95), rng.uniform(0.2, 0.32)
  _block(things, "furniture", base, yaw, (0, h, d), (w, h, d), things.look("furniture"))
  _clutter(things, _placed(base, yaw, (0, 2 * h, d)), yaw, 0.6 * w)


def _shelf(things: _Things, base: np.ndarray, yaw: float) -> None:
  """Boards with rows of books."""
  rng, look = things.rng, things.look("furniture")
  w = rng.uniform(0.3, 0.5)
  _block(things, "furniture", base, yaw, (0, 0.8, 0.02), (w, 0.8, 0.02), look)
  for level in (0.05, 0.55, 1.05):
    _block(things, "furniture", base, yaw, (0, level, 0.15), (w, 0.02, 0.14), look)
    if rng.random() < 0.8:
      size = rng.uniform(0.3, 0.9) * w
      books = things.look("books", 1, scale=rng.uniform(18, 35), contrast=0.9)
      offset = (rng.uniform(-1, 1) * (w - size), level + 0.15, 0.15)
      _block(things, "books", base, yaw, offset, (size, 0.13, 0.1), books)


def _tv_stand(things: _Things, base: np.ndarray, yaw: float) -> None:
  w = things.rng.uniform(0.4, 0.6)
  _block(things, "furniture", base, yaw, (0, 0.25, 0.2), (w, 0.25, 0.2), things.look("furniture"))
  _block(things, "tv", base, yaw, (0, 0.85, 0.15), (0.85 * w, 0.3, 0.03), things.look("tv", 0))


def _side_table(things: _Things, base: np.ndarray, yaw: float) -> None:
  look = things.look("table")
  centre = _placed(base, yaw, (0, 0, 0.35))
  things.add("cylinder", "table", _above(centre, 0.5), np.array([0.3, 0.02, 0]), yaw, look)
  things.add("cylinder", "table", _above(centre, 0.25), np.array([0.04, 0.25, 0]), yaw, look)
  _clutter(things, _above(centre, 0.52), yaw, 0.15)


def _table_and_chairs(things: _Things, place: np.ndarray, half: np.ndarray) -> None:
  rng = things.rng
  base, yaw = np.array([place[0], 0.0, place[1]]), rng.uniform(0, np.pi)
  w, d, h = rng.uniform(0.4, 0.75), rng.uniform(0.3, 0.45), rng.uniform(0.33, 0.37)
  look = things.look("table")
  _block(things, "table", base, yaw, (0, 2 * h, 0), (w, 0.025, d), look)
  for side in (-1, 1):
    _block(things, "table", base, yaw, (side * (w - 0.06), h, 0), (0.03, h, 0.8 * d), look)
  _clutter(things, _above(base, 2 * h + 0.025), yaw, 0.5 * w)
  for side in (-1, 1):
    if rng.random() < 0.7:
      spot = _placed(base, yaw, (rng.uniform(-0.4, 0.4) * w, 0, side * (d + 0.3)))
      if np.all(np.abs(spot[::2]) < half[::2] - 0.3):
        _chair(things, spot, yaw + (0.0 if side < 0 else np.pi) + rng.normal() * 0.2)


def _chair(things: _Things, base: np.ndarray, yaw: float) -> None:
  look = things.look("chair")
  _block(things, "chair", base, yaw, (0, 0.44, 0), (0.2, 0.025, 0.2), look)
  _block(things, "chair", base, yaw, (0, 0.72, -0.19), (0.2, 0.26, 0.02), look)
  for side in (-1, 1):
    _block(things, "chair", base, yaw, (side * 0.18, 0.21, 0), (0.02, 0.21, 0.18), look)


def _clutter(things: _Things, top: np.ndarray, yaw: float, reach: float) -> None:
  """Small things on top of something."""
  rng = things.rng
  for _ in range(rng.integers(0, 4)):
    spot = _placed(top, yaw, (rng.uniform(-1, 1) * reach, 0, rng.uniform(-0.12, 0.12)))
    kind = rng.integers(3)
    if kind == 0:
      half = np.array([0.12, rng.uniform(0.02, 0.07), 0.09])
      look = things.look("books", 1, scale=40.0)
      things.add("box", "books", _above(spot, half[1]), half, yaw + rng.normal(), look)
    elif kind == 1:
      r = rng.uniform(0.06, 0.14)
      things.add("sphere", "objects", _above(spot, r), np.full(3, r), 0.0, things.look("objects"))
    else:
      half = np.array([rng.uniform(0.04, 0.09), rng.uniform(0.06, 0.2), 0])
      look = things.look("objects")
      things.add("cylinder", "objects", _above(spot, half[1]), half, 0.0, look)


def _on_wall(things: _Things, half: np.ndarray, wall: int, part: int) -> None:
  """A window, a picture, or a screen."""
  rng = things.rng
  base, yaw = _against(half, wall, part, rng)
  name = str(rng.choice(["window", "picture", "picture", "tv"]))
  if name == "window":
    size, look = rng.uniform(0.3, 0.6, 2), things.look("window", 0, glow=rng.uniform(0.8, 1.2))
  elif name == "tv":
    size, look = np.array([0.5, 0.3]), things.look("tv", 0)
  else:
    size, look = rng.uniform(0.15, 0.4, 2), things.look("picture", contrast=0.9)
  up = rng.uniform(1.35, 1.6)
  _block(things, name, base, yaw, (0, up, 0.01), (size[0], size[1], 0.02), look)
