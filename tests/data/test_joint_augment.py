"""Joint augmentation against a slow reference; what it does to geometry, and to what is void."""

import functools

import jax
import numpy as np
import pytest

from jaxmtl import data
from jaxmtl.data.joint_augment import ScaleRange, draw

H, W = 9, 12
SCALES = (1.0, 1.2, 1.5)
KEY = jax.random.key(3)


@functools.partial(jax.jit, static_argnames=("scales", "scale_range", "crop", "flip", "signed"))
def augment(key, batch, **options):
  return data.joint_augment(key, batch, **options)


def maps(count=4, size=(H, W), seed=0):
  rng = np.random.default_rng(seed)
  normal = rng.normal(size=(count, *size, 3))
  normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
  normal[rng.random((count, *size)) < 0.2] = 0
  known = rng.random((count, *size, 1)) < 0.8
  return {
    "image": rng.integers(0, 256, (count, *size, 3), np.uint8),
    "segmentation": rng.integers(-1, 13, (count, *size)).astype(np.int32),
    "part": rng.integers(0, 10, (count, *size)).astype(np.int8),
    "depth": np.where(known, rng.uniform(1, 5, known.shape), 0).astype(np.float32),
    "disparity": np.where(known, rng.uniform(0, 9, known.shape), -1).astype(np.float32),
    "normal": normal.astype(np.float32),
    "noise": rng.random((count, *size, 1)).astype(np.float32),
    "confidence": rng.random((count, *size)).astype(np.float32),
  }


def bilinear(values, size):
  """Each pixel of the larger image by itself, as the rule says."""
  out = np.zeros((*size, values.shape[-1]))
  for i in range(size[0]):
    for j in range(size[1]):
      y = np.clip((i + 0.5) * values.shape[0] / size[0] - 0.5, 0, values.shape[0] - 1)
      x = np.clip((j + 0.5) * values.shape[1] / size[1] - 0.5, 0, values.shape[1] - 1)
      for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at = int(y) + row, int(x) + column
        if at[0] < values.shape[0] and at[1] < values.shape[1]:
          share = (1 - abs(y - at[0])) * (1 - abs(x - at[1]))
          out[i, j] += share * values[at]
  return out


def nearest(values, size):
  rows = [i * values.shape[0] // size[0] for i in range(size[0])]
  columns = [j * values.shape[1] // size[1] for j in range(size[1])]
  return values[rows][:, columns]


def reference(example, drawn, crop):
  """Scales, pads, cuts, mirrors, step by step, whole images."""
  scale, (height, width) = float(drawn.scale), drawn.resized.tolist()
  top, left = drawn.corner.tolist()
  out = {}
  for name, values in example.items():
    if name in ("image", "noise"):
      values = values / 255 if name == "image" else values
      values = bilinear(values.astype(np.float64), (height, width))
    else:
      values = nearest(values, (height, width))
    missing = [(0, max(0, crop[0] - height)), (0, max(0, crop[1] - width))]
    missing += [(0, 0)] * (values.ndim - 2)
    if name == "image":
      values = np.pad(values, missing, mode="reflect")
    else:
      pad = -1 if name in ("segmentation", "part", "disparity") else 0
      values = np.pad(values, missing, constant_values=pad)
    values = values[top : top + crop[0], left : left + crop[1]]
    if drawn.flip:
      values = values[:, ::-1]
      if name == "normal":
        values = values * [-1, 1, 1]
    if name == "image":
      values = 2 * values - 1
    if name == "depth":
      values = values / scale
    if name == "disparity":
      values = np.where(values == -1, -1, values * scale)
    out[name] = values
  return out


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draws(key, count, size, scales, crop):
  return jax.vmap(lambda k: draw(k, size, scales, crop, True))(jax.random.split(key, count))


def drawn_for(key, count, size, scales, crop):
  each = jax.tree.map(np.asarray, draws(key, count, size, scales, crop))
  return [jax.tree.map(lambda leaf, i=i: leaf[i], each) for i in range(count)]


@pytest.mark.parametrize(
  ("scales", "crop"),
  [
    (SCALES, (H, W)),  # as for NYUv2
    ((1.0,), (6, 6)),  # as for Cityscapes
    (SCALES, (12, 15)),  # larger than some scaled images: padded
    ((0.4, 0.7), (H, W)),  # smaller than the crop, and reflected more than once
    ((1.3,), (5, 30)),  # padded to the right alone
    (ScaleRange(0.5, 1.5), (10, 12)),  # as in ReCo
  ],
)
def test_each_rule_against_the_reference(scales, crop):
  count = 6
  batch = maps(count)
  name = "scale_range" if isinstance(scales, ScaleRange) else "scales"
  out = augment(KEY, batch, crop=crop, **{name: tuple(scales)})
  drawn = drawn_for(KEY, count, (H, W), scales, crop)
  assert len({bool(one.flip) for one in drawn}) == 2
  for i, one in enumerate(drawn):
    want = reference({name: values[i] for name, values in batch.items()}, one, crop)
    for name, values in out.items():
      tolerance = 1e-6 if name in ("image", "noise") else 1e-7
      np.testing.assert_allclose(values[i], want[name], rtol=1e-6, atol=tolerance, err_msg=name)


def test_images_of_their_own_sizes_are_treated_as_if_alone():
  batch, sizes = maps(), np.array([[9, 12], [7, 12], [9, 5], [4, 6]])
  for values in batch.values():  # what is beyond must not matter
    for i, (height, width) in enumerate(sizes):
      values[i, height:] = values[i, :, width:] = 0
  scales, crop = ScaleRange(0.5, 1.5), (8, 8)
  out = jax.jit(
    lambda: data.joint_augment(KEY, batch, scale_range=scales, crop=crop, sizes=sizes)
  )()
  each = jax.jit(
    lambda: [
      draw(key, tuple(size), scales, crop, True)
      for key, size in zip(jax.random.split(KEY, 4), sizes.tolist(), strict=True)
    ]
  )()
  for i, (size, drawn) in enumerate(zip(sizes, each, strict=True)):
    cut = {name: values[i, : size[0], : size[1]] for name, values in batch.items()}
    for name, want in reference(cut, drawn, (8, 8)).items():
      np.testing.assert_allclose(out[name][i], want, rtol=1e-6, atol=1e-6, err_msg=name)


def shapes(batch, **options):
  return jax.eval_shape(functools.partial(augment, **options), KEY, batch)


def test_what_comes_out():
  out = shapes(maps(), scales=SCALES, crop=(5, 7))
  assert {name: (v.dtype.name, v.shape[1:]) for name, v in out.items()} == {
    "image": ("float32", (5, 7, 3)),
    "segmentation": ("int32", (5, 7)),
    "part": ("int8", (5, 7)),
    "depth": ("float32", (5, 7, 1)),
    "disparity": ("float32", (5, 7, 1)),
    "normal": ("float32", (5, 7, 3)),
    "noise": ("float32", (5, 7, 1)),
    "confidence": ("float32", (5, 7)),
  }
  assert shapes(maps())["image"].shape == (4, H, W, 3)


def test_wider_numbers_elsewhere_change_no_dtype():
  with jax.enable_x64(True):
    out = shapes(maps(), scales=SCALES, crop=(5, 7))
  assert {v.dtype.name for v in out.values()} == {"float32", "int32", "int8"}


def test_nothing_drawn_changes_nothing_but_the_range():
  batch = maps()
  out = augment(KEY, batch, flip=False)
  for name in batch:
    want = data.signed_image(batch[name]) if name == "image" else batch[name]
    np.testing.assert_allclose(out[name], want, atol=1e-6, err_msg=name)
  unit = augment(KEY, {"image": batch["image"]}, flip=False, signed=False)["image"]
  np.testing.assert_allclose(unit, batch["image"] / 255, atol=1e-6)
  as_float = {"image": (batch["image"] / np.float32(255))}
  np.testing.assert_allclose(augment(KEY, as_float, flip=False)["image"], out["image"], atol=1e-6)


def test_draws_are_what_they_should_be():
  count = 3000
  drawn = jax.tree.map(np.asarray, draws(KEY, count, (H, W), SCALES, (H, W)))
  sizes = {(int(H * s), int(W * s)) for s in SCALES}
  assert {tuple(size) for size in drawn.resized.tolist()} == sizes
  for scale in SCALES:
    rows = np.isclose(drawn.scale, scale)
    assert abs(rows.mean() - 1 / 3) < 0.04
    height = int(H * scale)
    # Every place, the last one too, and none beyond.
    assert set(drawn.corner[rows][:, 0].tolist()) == set(range(height - H + 1))
  assert abs(drawn.flip.mean() - 0.5) < 0.04


def plane(count, size):
  """A wall that is further away to the right, as bright as it is far to the right and down."""
  rows, columns = np.mgrid[: size[0], : size[1]]
  image = np.stack([rows / size[0], columns / size[1], 0 * rows], -1).astype(np.float32)
  depth = (2 + columns[..., None] / size[1]).astype(np.float32)
  normal = np.broadcast_to(np.array([-0.6, 0, 0.8], np.float32), (*size, 3))
  example = {"image": image, "depth": depth, "normal": normal}
  example["segmentation"] = (columns // 4).astype(np.int32)
  return {name: np.stack([values] * count) for name, values in example.items()}


def test_geometry_is_kept():
  """A constant gradient and analytic depth: all maps are moved alike, and tell the same wall."""
  size, count = (24, 32), 16
  out = augment(KEY, plane(count, size), scales=SCALES, crop=(16, 16), signed=False)
  drawn = drawn_for(KEY, count, size, SCALES, (16, 16))
  assert {round(float(one.scale), 1) for one in drawn} == set(SCALES)
  for i, one in enumerate(drawn):
    scale, flip = float(one.scale), bool(one.flip)
    image, depth, normal = (np.asarray(out[name][i]) for name in ("image", "depth", "normal"))
    # The gradient is smaller by the scale, and its sign is that of the flip.
    inner = np.diff(image[2:-2, 2:-2], axis=1)[..., 1]
    side = one.resized[1] / size[1]
    np.testing.assert_allclose(inner, (-1 if flip else 1) / size[1] / side, rtol=1e-3)
    down = np.diff(image[2:-2, 2:-2], axis=0)[..., 0]
    np.testing.assert_allclose(down, 1 / size[0] / (one.resized[0] / size[0]), rtol=1e-3)
    # Depth tells of the same place as the image does, to a pixel, nearer by the scale.
    np.testing.assert_allclose(depth[..., 0] * scale, 2 + image[..., 1], atol=1 / size[1])
    np.testing.assert_allclose(out["segmentation"][i], (depth[..., 0] * scale - 2) * size[1] // 4)
    # The wall that went away to the right comes nearer to it.
    assert np.allclose(normal, [0.6 if flip else -0.6, 0, 0.8])
    slope = np.polyfit(np.arange(16), depth[8, :, 0], 1)[0]
    assert np.sign(slope) == (-1 if flip else 1)


def test_a_flip_moves_noise_with_its_image():
  """The noise task's map belongs to the image, wherever that is moved."""
  batch = maps()
  batch["image"] = np.repeat(batch["noise"], 3, axis=-1)
  out = augment(KEY, batch, scales=SCALES, crop=(6, 7), signed=False)
  np.testing.assert_allclose(out["image"][..., :1], out["noise"], atol=1e-6)


def test_void_stays_void():
  batch = maps()
  batch |= {
    "segmentation": np.full((4, H, W), -1, np.int32),
    "part": np.full((4, H, W), -1, np.int8),
    "disparity": np.full((4, H, W, 1), -1, np.float32),
    "depth": np.zeros((4, H, W, 1), np.float32),
    "normal": np.zeros((4, H, W, 3), np.float32),
  }
  out = augment(KEY, batch, scales=SCALES, crop=(14, 20))
  for name in ("segmentation", "part", "disparity"):
    assert (out[name] == -1).all(), name
  for name in ("depth", "normal"):
    assert (out[name] == 0).all(), name
  # Where there is a disparity of 0, as far away as can be, it is one.
  far = {"disparity": np.zeros((4, H, W, 1), np.float32)}
  inside = augment(KEY, far, scales=SCALES, crop=(6, 6))["disparity"]
  assert (inside == 0).all()


def test_the_same_key_gives_the_same_and_images_their_own():
  batch = {name: np.stack([values[0]] * 8) for name, values in maps().items()}
  run = functools.partial(augment, scales=SCALES, crop=(6, 7))
  one, again = run(KEY, batch), run(KEY, batch)
  other = run(jax.random.key(4), batch)
  for name in batch:
    np.testing.assert_array_equal(one[name], again[name])
    assert not np.array_equal(one[name], other[name])
  assert len({np.asarray(image).tobytes() for image in one["image"]}) > 5
  # Which maps there are changes no draw.
  fewer = run(KEY, {"image": batch["image"], "depth": batch["depth"]})
  np.testing.assert_array_equal(fewer["depth"], one["depth"])


def test_it_runs_under_jit_vmap_and_scan():
  batch = maps(2)
  run = functools.partial(data.joint_augment, scales=SCALES, crop=(6, 7))
  keys = jax.random.split(KEY, 3)
  one = jax.jit(run)
  plain = [one(key, batch) for key in keys[:2]]
  mapped = jax.vmap(run, (0, None))
  _, scanned = jax.lax.scan(lambda c, keys: (c, mapped(keys, batch)), 0, keys[None])
  scanned = jax.tree.map(np.asarray, scanned)
  for i, want in enumerate(plain):
    for name in want:
      np.testing.assert_allclose(scanned[name][0, i], want[name], atol=2e-6, err_msg=name)


def test_kinds_of_other_names():
  batch = {"edges": maps()["segmentation"], "far": maps()["depth"]}
  usual = {"seg": batch["edges"], "depth": batch["far"]}

  @jax.jit
  def both(batch, usual):
    kinds = {"edges": "label", "far": "depth"}
    out = data.joint_augment(KEY, batch, scales=(1.5,), kinds=kinds)
    return out, data.joint_augment(KEY, usual, scales=(1.5,))

  out, want = both(batch, usual)
  np.testing.assert_array_equal(out["edges"], want["seg"])
  np.testing.assert_array_equal(out["far"], want["depth"])


def test_rooms_are_augmented_as_they_are():
  made = data.rooms(2, (12, 16))
  out = augment(KEY, made._asdict(), scales=SCALES)
  length = np.linalg.norm(out["normal"], axis=-1)
  assert np.all((np.abs(length - 1) < 1e-5) | (length == 0))
  np.testing.assert_array_equal(length > 0.5, np.asarray(out["depth"][..., 0]) > 0)


IMAGE = np.zeros((2, H, W, 3), np.uint8)


@pytest.mark.parametrize(
  ("batch", "options", "error", "message"),
  [
    ({}, {}, ValueError, "batch must have at least one map"),
    ({"image": IMAGE, "edges": IMAGE}, {}, ValueError, "the map 'edges' is, which has none"),
    ({"image": IMAGE}, {"kinds": {"image": "photo"}}, ValueError, "'image' is, got 'photo'"),
    ({"image": IMAGE[0]}, {}, ValueError, r"image must be \[B, H, W, C\], got shape \(9, 12, 3\)"),
    (
      {"image": IMAGE, "depth": np.zeros((2, H, W - 1, 1), np.float32)},
      {},
      ValueError,
      r"depth must be of .* \(2, 9, 12\), got shape \(2, 9, 11, 1\)",
    ),
    ({"normal": np.zeros((2, H, W, 1), np.float32)}, {}, ValueError, "normal must have 3 channels"),
    ({"image": IMAGE.astype(np.int32)}, {}, TypeError, r"image must be uint8, .* got int32"),
    ({"seg": IMAGE[..., 0]}, {}, TypeError, "seg must be signed integers, -1 void, got uint8"),
    ({"depth": IMAGE[..., :1]}, {}, TypeError, "depth must be float, got uint8"),
    ({"image": IMAGE}, {"scales": ()}, ValueError, "scales must be a list of at least one"),
    ({"image": IMAGE}, {"scales": 1.5}, ValueError, "scales must be a list .* got 1.5"),
    ({"image": IMAGE}, {"scale_range": (1.5, 0.5)}, ValueError, r"scale_range .* got \(1.5, 0.5\)"),
    ({"image": IMAGE}, {"scales": (1.0, 0.0)}, ValueError, r"scales must be .* got \(1.0, 0.0\)"),
    ({"image": IMAGE}, {"crop": (0, 4)}, ValueError, r"crop must be .* got \(0, 4\)"),
    ({"image": IMAGE}, {"sizes": np.ones((2,))}, ValueError, r"sizes must be \[batch, 2\]"),
    ({"image": IMAGE}, {"crop": (4,)}, ValueError, r"crop must be .* got \(4,\)"),
  ],
)
def test_what_does_not_fit(batch, options, error, message):
  with pytest.raises(error, match=message):
    data.joint_augment(KEY, batch, **options)


def test_signed_images_are_of_images():
  with pytest.raises(TypeError, match="image must be uint8"):
    data.signed_image(np.zeros((2, 2, 3), np.int32))
