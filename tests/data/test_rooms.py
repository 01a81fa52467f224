"""Rooms: analytic geometry, labels, what is missing, and the same for the same seed."""

import importlib

import jax
import numpy as np
import pytest

from jaxmtl import data
from jaxmtl.data.ray_casting import cast

NONE = {"there": np.zeros(1, bool), "yaw": np.zeros(1, np.float32)} | {
  k: np.ones((1, 3), np.float32) for k in ("centre", "half")
}


def scene(**objects):
  """A camera at the origin of a room of 6 x 3 x 8 m, 1.5 m high, looking along -z."""
  kinds = {kind: objects.get(kind, NONE) for kind in ("box", "sphere", "cylinder")}
  surfaces = 6
  look = {
    "colour": np.full((surfaces, 3), 0.5),
    "pattern": np.zeros(surfaces, int),
    **{k: np.zeros(surfaces) for k in ("contrast", "glow")},
    "scale": np.ones(surfaces),
  }
  single = {
    "room": np.array([3.0, 3.0, 4.0]),
    "camera": np.array([0.0, 1.5, 0.0]),
    "light": np.array([0.0, 2.9, 0.0]),
    **{"turn": 0.0, "tilt": 0.0, "focal": 0.5, "ambient": 0.3},
  }
  return jax.tree.map(
    lambda x: np.asarray(x, np.float32 if np.asarray(x).dtype == float else None),
    kinds | look | single,
  )


def one(centre, half, yaw=0.0):
  return {
    "there": np.ones(1, bool),
    "yaw": np.array([yaw]),
    "centre": np.array([centre], float),
    "half": np.array([half], float),
  }


SEE = jax.jit(cast, static_argnums=(1, 2))


def test_the_room_has_analytic_depth_and_normals():
  seen = SEE(scene(), 32, 32)
  centre = (slice(14, 18), slice(14, 18))
  np.testing.assert_allclose(seen["depth"][centre], 4, rtol=1e-6)  # along the axis: the far wall
  np.testing.assert_allclose(
    seen["normal"][centre], np.broadcast_to([0, 0, 1], (4, 4, 3)), atol=1e-6
  )
  rows = np.arange(32) + 0.5 - 16
  # The floor, 1.5 m below: depth = 1.5 focal / row.
  floor = np.asarray(seen["surface"][:, 16]) == 0
  np.testing.assert_allclose(
    np.asarray(seen["depth"])[floor, 16], (1.5 * 16 / rows)[floor], rtol=1e-5
  )
  assert floor.sum() > 5
  np.testing.assert_allclose(
    np.asarray(seen["normal"])[floor, 16], [[0, 1, 0]] * floor.sum(), atol=1e-6
  )


@pytest.mark.parametrize("yaw", [0.0, np.pi / 6])
def test_objects_have_analytic_depth_and_normals(yaw):
  sphere = SEE(scene(sphere=one((0, 1.5, -2), (0.5, 0.5, 0.5))), 33, 33)
  assert float(sphere["depth"][16, 16]) == pytest.approx(1.5, rel=1e-5)
  np.testing.assert_allclose(sphere["normal"][16, 16], [0, 0, 1], atol=1e-5)
  box = SEE(scene(box=one((0, 1.5, -2), (0.5, 0.5, 0.5), yaw)), 33, 33)
  # The face that looks at the camera is turned by the yaw.
  np.testing.assert_allclose(box["normal"][16, 16], [np.sin(yaw), 0, np.cos(yaw)], atol=1e-6)
  assert float(box["depth"][16, 16]) == pytest.approx(2 - 0.5 / np.cos(yaw), rel=1e-5)
  cylinder = SEE(scene(cylinder=one((0, 1.5, -2), (0.5, 0.4, 0))), 33, 33)
  assert float(cylinder["depth"][16, 16]) == pytest.approx(1.5, rel=1e-5)
  assert [int(x["surface"][16, 16]) for x in (box, sphere, cylinder)] == [3, 4, 5]


def test_a_surface_behind_an_object_is_in_its_shadow():
  blocked = SEE(scene(box=one((0, 1.5, -2), (0.4, 0.05, 0.4))), 33, 33)["image"]
  free = SEE(scene(), 33, 33)["image"]
  darker = np.asarray(blocked.sum(-1) < 0.7 * free.sum(-1))
  assert 10 < darker.sum() < 300
  assert darker[20:].any()  # on the floor below


def test_rooms_are_made_on_the_host_whatever_device_is_the_default(monkeypatch):
  module = importlib.import_module("jaxmtl.data.rooms")
  made_on, own = [], module._cast_all

  def watched(*args):
    found = own(*args)
    made_on.append(found["image"].devices())
    return found

  monkeypatch.setattr(module, "_cast_all", watched)
  with jax.default_device(jax.devices()[3]):
    data.rooms(1, (12, 16))
  assert made_on == [{jax.local_devices(backend="cpu")[0]}]


def test_rooms_are_the_same_for_a_seed_and_have_what_they_say():
  made, again = data.rooms(4, (24, 32), seed=3), data.rooms(3, (24, 32), seed=3)
  for few, more in zip(again, made, strict=True):
    np.testing.assert_array_equal(few, more[:3])
  assert not np.array_equal(made.image, data.rooms(4, (24, 32), seed=4).image)
  assert made.segmentation.min() == -1
  assert made.segmentation.max() < len(data.ROOM_CLASSES) == 13
  valid = made.depth[..., 0] > 0
  assert 0.5 < valid.mean() < 0.99  # edges take much of a small image
  lengths = np.linalg.norm(made.normal, axis=-1)
  np.testing.assert_allclose(lengths, valid, atol=1e-5)
  assert (made.normal[..., 2][valid] > -0.75).all()
  assert made.depth.max() < 12
  with pytest.raises(ValueError, match="must be positive, got 0"):
    data.rooms(0)
