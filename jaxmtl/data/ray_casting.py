"""A small renderer: rays against boxes, spheres and cylinders in a room, with light and shadow.

World coordinates are metres, y up; the camera looks along its own negative z, x to the right, y up.
Everything runs in one compiled program for many scenes with as many (padded) objects.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

FAR = 1e6
_NEAR = 1e-3
# Patterns that a surface may have, see `_pattern`.
PATTERNS = 5


def cast(scene: dict[str, Any], height: int, width: int) -> dict[str, jax.Array]:
  """What a camera sees of one scene.

  Args:
    scene: arrays in float32, `room` `[3]` (half width, height, half length), `camera` `[3]`,
      `turn` and `tilt` (radians), `focal` (in image heights), `light` `[3]`, `ambient`; for `box`,
      `sphere` and `cylinder` a dict of `centre` `[N, 3]`, `half` `[N, 3]` (a sphere's and
      cylinder's radius is the first, a cylinder's half height the second), `yaw` `[N]`, `there`
      `[N]` bool; and for
      all surfaces, floor, ceiling, walls and then the objects, `colour` `[S, 3]`, `pattern` `[S]`,
      `scale` `[S]`, `contrast` `[S]`, `glow` `[S]`.
    height: of the image.
    width: the same.

  Returns:
    `image` `[H, W, 3]` in [0, 1], `surface` int32 `[H, W]`, `depth` `[H, W]` along the camera's
    axis, `normal` `[H, W, 3]` in the camera's coordinates, unit, towards it, and `facing` `[H, W]`,
    the cosine between the normal and the ray.
  """
  rows, columns = jnp.mgrid[0:height, 0:width].astype(jnp.float32)
  focal = scene["focal"] * height
  rays = jnp.stack(
    [
      (columns + 0.5 - width / 2) / focal,
      -(rows + 0.5 - height / 2) / focal,
      -jnp.ones((height, width)),
    ],
    -1,
  ).reshape(-1, 3)
  to_world = _turned(scene["turn"]) @ _tilted(scene["tilt"])
  rays = _times(rays, to_world.T)
  origin = jnp.broadcast_to(scene["camera"], rays.shape)
  depth, surface, normal, local = _nearest(scene, origin, rays)
  point = origin + depth[:, None] * rays
  facing = -(normal * rays).sum(-1) / jnp.linalg.norm(rays, axis=-1)
  # Shadow: whether anything is between a point, lifted off its surface, and the light.
  lifted = point + 5e-3 * normal
  to_light = scene["light"] - lifted
  distance = jnp.linalg.norm(to_light, axis=-1)
  lit = _objects(scene, lifted, to_light)[0] > 1
  cosine = jnp.maximum((normal * to_light).sum(-1) / distance, 0)
  shade = scene["ambient"] + 1.3 * lit * cosine / (1 + 0.12 * distance**2)
  own = {k: scene[k][surface] for k in ("colour", "pattern", "scale", "contrast", "glow")}
  texture = 1 + own["contrast"] * (_pattern(local, own["pattern"], own["scale"]) - 0.5)
  light = jnp.where(own["glow"] > 0, own["glow"], shade)
  image = jnp.clip(own["colour"] * (texture * light)[:, None], 0, 1)
  maps = {
    "image": image,
    "surface": surface,
    "depth": depth,
    "normal": _times(normal, to_world),
    "facing": facing,
  }
  return {name: x.reshape(height, width, *x.shape[1:]) for name, x in maps.items()}


def _nearest(scene: dict[str, Any], origin: jax.Array, rays: jax.Array) -> tuple[jax.Array, ...]:
  """Distance, surface, normal, and the point in the surface's own coordinates."""
  depth, found, kind = _objects(scene, origin, rays)
  half, height, length = scene["room"]
  low, high = jnp.stack([-half, 0.0, -length]), jnp.stack([half, height, length])
  each = jnp.where(rays > 0, high - origin, low - origin) / _safe(rays)
  each = jnp.where(jnp.abs(rays) > 1e-9, each, FAR)  # along a wall
  walls, axis = each.min(-1), each.argmin(-1)
  is_room = walls < depth
  depth = jnp.minimum(walls, depth)
  point = origin + depth[:, None] * rays
  room_normal = -jnp.sign(rays) * jax.nn.one_hot(axis, 3)
  up = jnp.take_along_axis(rays, axis[:, None], 1)[:, 0] > 0
  room_surface = jnp.where(axis == 1, jnp.where(up, 1, 0), 2)
  counts = {name: len(scene[name]["there"]) for name in ("box", "sphere", "cylinder")}
  surface, normal, local = room_surface, room_normal, point
  before = 3
  for number, (name, normal_of) in enumerate(_NORMALS.items()):
    objects = scene[name]
    mine = (kind == number) & ~is_room
    index = jnp.where(mine, found, 0)
    yaw, centre, half_sizes = (objects[k][index] for k in ("yaw", "centre", "half"))
    inside = _into(point - centre, yaw)
    outward = _out_of(normal_of(inside, half_sizes), yaw)
    normal = jnp.where(mine[:, None], outward, normal)
    local = jnp.where(mine[:, None], inside, local)
    surface = jnp.where(mine, before + index, surface)
    before += counts[name]
  return depth, surface.astype(jnp.int32), normal, local


def _objects(scene: dict[str, Any], origin: jax.Array, rays: jax.Array) -> tuple[jax.Array, ...]:
  """The nearest object: its distance in rays, its number among its kind, and the kind."""
  best = jnp.full(len(rays), FAR)
  found, kind = jnp.zeros(len(rays), jnp.int32), jnp.zeros(len(rays), jnp.int32)
  for number, (name, meets) in enumerate(_MEETS.items()):
    objects = scene[name]

    def look(carry: Any, one: Any, number: int = number, meets: Any = meets) -> tuple[Any, None]:
      best, found, kind, i = carry
      distance = meets(
        _into(origin - one["centre"], one["yaw"]), _into(rays, one["yaw"]), one["half"]
      )
      nearer = one["there"] & (distance < best) & (distance > _NEAR)
      return (
        jnp.where(nearer, distance, best),
        jnp.where(nearer, i, found),
        jnp.where(nearer, number, kind),
        i + 1,
      ), None

    (best, found, kind, _), _ = jax.lax.scan(
      look, (best, found, kind, jnp.zeros((), jnp.int32)), objects
    )
  return best, found, kind


def _meets_box(origin: jax.Array, rays: jax.Array, half: jax.Array) -> jax.Array:
  first, second = (-half - origin) / _safe(rays), (half - origin) / _safe(rays)
  enters = jnp.minimum(first, second).max(-1)
  leaves = jnp.maximum(first, second).min(-1)
  return jnp.where(enters < leaves, enters, FAR)


def _meets_sphere(origin: jax.Array, rays: jax.Array, half: jax.Array) -> jax.Array:
  return _root((rays**2).sum(-1), (origin * rays).sum(-1), (origin**2).sum(-1) - half[0] ** 2)


def _meets_cylinder(origin: jax.Array, rays: jax.Array, half: jax.Array) -> jax.Array:
  """The mantle, and the lid that is on the ray's side."""
  flat_origin, flat_rays = origin[:, ::2], rays[:, ::2]
  mantle = _root(
    (flat_rays**2).sum(-1),
    (flat_origin * flat_rays).sum(-1),
    (flat_origin**2).sum(-1) - half[0] ** 2,
  )
  inside = jnp.abs(origin[:, 1] + mantle * rays[:, 1]) <= half[1]
  lid = (-jnp.sign(rays[:, 1]) * half[1] - origin[:, 1]) / _safe(rays[:, 1])
  on_lid = ((flat_origin + lid[:, None] * flat_rays) ** 2).sum(-1) <= half[0] ** 2
  return jnp.minimum(
    jnp.where(inside & (mantle > _NEAR), mantle, FAR), jnp.where(on_lid & (lid > _NEAR), lid, FAR)
  )


def _box_normal(point: jax.Array, half: jax.Array) -> jax.Array:
  axis = jnp.abs(point / jnp.maximum(half, 1e-6)).argmax(-1)
  return jnp.sign(point) * jax.nn.one_hot(axis, 3)


def _sphere_normal(point: jax.Array, half: jax.Array) -> jax.Array:
  return point / jnp.maximum(half[:, :1], 1e-6)


def _cylinder_normal(point: jax.Array, half: jax.Array) -> jax.Array:
  flat = point * jnp.array([1.0, 0.0, 1.0])
  length = jnp.linalg.norm(flat, axis=-1, keepdims=True)
  lid = jnp.sign(point) * jnp.array([0.0, 1.0, 0.0])
  is_lid = jnp.abs(point[:, 1:2]) > half[:, 1:2] - 1e-4
  return jnp.where(is_lid, lid, flat / jnp.maximum(length, 1e-6))


_MEETS = {"box": _meets_box, "sphere": _meets_sphere, "cylinder": _meets_cylinder}
_NORMALS = {"box": _box_normal, "sphere": _sphere_normal, "cylinder": _cylinder_normal}


def _pattern(point: jax.Array, kind: jax.Array, scale: jax.Array) -> jax.Array:
  """In [0, 1]: none, stripes, checks, planks, and grain."""
  p = point * scale[:, None]
  cells = jnp.floor(p + 1e-4)
  stripes = (jnp.floor(p[:, 0] + p[:, 2] + 1e-4) % 2).astype(jnp.float32)
  checks = (cells.sum(-1) % 2).astype(jnp.float32)
  planks = _noise(jnp.stack([cells[:, 0], jnp.floor(p[:, 2] / 4 + cells[:, 0] * 0.37)], -1))
  grain = _noise(jnp.stack([jnp.floor(8 * (p[:, 0] + p[:, 2])), jnp.floor(8 * p[:, 1])], -1))
  plain = jnp.full_like(stripes, 0.5)
  return jnp.select([kind == i for i in range(PATTERNS)], [plain, stripes, checks, planks, grain])


def _noise(cells: jax.Array) -> jax.Array:
  """A number in [0, 1) for each pair of whole ones."""
  mixed = jnp.sin(cells[:, 0] * 12.9898 + cells[:, 1] * 78.233) * 43758.547
  return mixed - jnp.floor(mixed)


def _root(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
  """The smaller solution of a t^2 + 2 b t + c = 0."""
  inside = b**2 - a * c
  return jnp.where(inside > 0, (-b - jnp.sqrt(jnp.maximum(inside, 0))) / _safe(a), FAR)


def _into(vectors: jax.Array, yaw: jax.Array) -> jax.Array:
  """World to an object's coordinates."""
  return _about_y(vectors, -yaw)


def _out_of(vectors: jax.Array, yaw: jax.Array) -> jax.Array:
  return _about_y(vectors, yaw)


def _about_y(vectors: jax.Array, angle: jax.Array) -> jax.Array:
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
  return jnp.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def _turned(angle: jax.Array) -> jax.Array:
  cos, sin, one, zero = jnp.cos(angle), jnp.sin(angle), jnp.ones(()), jnp.zeros(())
  return jnp.array([[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]])


def _tilted(angle: jax.Array) -> jax.Array:
  cos, sin, one, zero = jnp.cos(angle), jnp.sin(angle), jnp.ones(()), jnp.zeros(())
  return jnp.array([[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]])


def _times(vectors: jax.Array, matrix: jax.Array) -> jax.Array:
  """Of many short vectors, in full precision everywhere."""
  return jnp.matmul(vectors, matrix, precision="highest")


def _safe(x: jax.Array) -> jax.Array:
  return jnp.where(jnp.abs(x) > 1e-9, x, jnp.where(x < 0, -1e-9, 1e-9))
