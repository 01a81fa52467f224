"""Labels of experts: files and back, features, joint augmentation against Pillow, filling."""

import errno
import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxmtl import data
from jaxmtl.data import experts
from jaxmtl.data.experts import crop, rand_augment
from jaxmtl.data.experts.augment import mirrored
from jaxmtl.data.experts.ocr import words_label
from jaxmtl.models import prismer

WORDS = pathlib.Path(__file__).parents[1] / "goldens" / "ocr_words.pt"
SIZES = ((20, 30), (16, 12))  # height and width
NAMES = ("vg/a.jpg", "vg/in/b.png")
PLAIN = ("depth", "normal", "edge", "seg_coco")
ALL = (*PLAIN, "obj_detection", "ocr_detection")


def save(path, pixels, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def folder(tmp_path):
  """Two images with the labels of six experts, as other programs write them."""
  rng = np.random.default_rng(0)
  for name, size in zip(NAMES, SIZES, strict=True):
    save(tmp_path / name, rng.integers(0, 256, (*size, 3), np.uint8))
    for expert in ALL:
      path = experts.label_path(tmp_path / "labels", expert, name)
      if expert == "normal":
        save(path, rng.integers(1, 256, (*size, 3), np.uint8))
      elif expert in ("obj_detection", "ocr_detection"):
        label = np.full(size, 255, np.uint8)
        label[2:9, 3:8], label[5:12, 6:11] = 0, 1
        save(path, label)
      else:
        save(path, rng.integers(0, 133, size, np.uint8))
    objects = experts.label_path(tmp_path / "labels", "obj_detection", name)
    objects.with_suffix(".json").write_text('{"0": 721, "1": 17}')
  words = tmp_path / "labels/ocr_detection/vg"
  shutil.copy(WORDS, words / "a.pt")
  (words / "in/b.json").write_text('{"1": "shop", "0": "of"}')
  np.savez(words / "in/b.npz", features=np.stack([np.full(64, 5.0), np.full(64, 7.0)]))
  return tmp_path


def read(folder, names=NAMES, wanted=ALL, side=30):
  return experts.ExpertFiles(
    names, [folder / name for name in names], folder / "labels", wanted, side=side
  )


def pixels(folder, expert, name):
  with Image.open(experts.label_path(folder / "labels", expert, name)) as image:
    return np.asarray(image)


def test_files_are_read_as_they_are(folder):
  loaded = read(folder).load()
  assert loaded["size"].tolist() == [list(size) for size in SIZES]
  for i, (name, (height, width)) in enumerate(zip(NAMES, SIZES, strict=True)):
    for expert in ALL:
      label, wanted = loaded[expert][i], pixels(folder, expert, name)
      assert label.dtype == np.uint8
      np.testing.assert_array_equal(label[:height, :width].squeeze(), wanted)
      fill = 255 if experts.KINDS[expert].numbers else 0
      assert set(np.unique(label[height:])) | set(np.unique(label[:, width:])) == {fill}
  with Image.open(folder / NAMES[1]) as image:
    np.testing.assert_array_equal(loaded["rgb"][1, :16, :12], np.asarray(image))
  np.testing.assert_array_equal(loaded["obj_detection_classes"], [[721, 17]] * 2)
  features = loaded["ocr_detection_features"]
  assert features.shape == (2, 2, 64)
  np.testing.assert_allclose(features[0], np.arange(64) / 64 + [[0], [1]])
  assert features[1, :, 0].tolist() == [5, 7]  # in the order of the numbers

  before = read(folder).fingerprint()
  assert before == read(folder).fingerprint() != read(folder, wanted=PLAIN).fingerprint()
  smaller = read(folder, side=15)[0]
  assert smaller["size"].tolist() == [10, 15]
  depth = pixels(folder, "depth", NAMES[0])
  np.testing.assert_array_equal(smaller["depth"][:10, :, 0], depth[1::2, 1::2])
  with pytest.warns(UserWarning, match=r"labels of seg_ade are left out: .*less accurate"):
    found = read(folder, wanted=("depth", "seg_ade"))
  assert found.experts == ("depth",)
  assert len(found.__getitems__([1, 0, 1])) == 3


def test_empty_and_absent_files_say_that_there_is_nothing(folder):
  for expert in ALL:
    experts.label_path(folder / "labels", expert, NAMES[0]).write_bytes(b"")
  (folder / "labels/obj_detection/vg/a.json").unlink()
  example = read(folder)[0]
  for expert in ALL:
    fill = 255 if experts.KINDS[expert].numbers else 0
    assert (example[expert] == fill).all()
  (folder / "labels/ocr_detection/vg/in/b.json").unlink()
  (folder / "labels/ocr_detection/vg/in/b.npz").unlink()
  assert (read(folder)[1]["ocr_detection"] == 255).all()


def spoil(folder, what):
  """Damages one file, and returns what the message must say."""
  labels = folder / "labels"
  if what == "missing":
    (labels / "depth/vg/a.png").unlink()
    return FileNotFoundError, r"no label .*depth/vg/a\.png"
  if what == "size":
    save(labels / "edge/vg/a.png", np.zeros((30, 20), np.uint8))
    return ValueError, r"edge/vg/a\.png' cannot be taken: it is 20x30, and its image 30x20"
  if what == "mode":
    save(labels / "normal/vg/a.png", np.zeros(SIZES[0], np.uint8))
    return ValueError, r"normal/vg/a\.png' cannot be taken: it is of mode 'L'.* has RGB"
  if what == "damaged":
    path = labels / "seg_coco/vg/a.png"
    path.write_bytes(path.read_bytes()[:60])
    return ValueError, r"seg_coco/vg/a\.png' cannot be read"
  if what == "classes":
    (labels / "obj_detection/vg/a.json").unlink()
    return FileNotFoundError, r"no side file .*obj_detection/vg/a\.json"
  if what == "json":
    (labels / "obj_detection/vg/a.json").write_text("{")
    return ValueError, r"a\.json is no JSON"
  if what == "unknown":
    (labels / "obj_detection/vg/a.json").write_text('{"0": 3}')
    return ValueError, r"obj_detection/vg/a\.png has number 1, of which its side file says nothing"
  if what == "class":
    (labels / "obj_detection/vg/a.json").write_text('{"0": "dog"}')
    return ValueError, r"object '0' has class 'dog'"
  if what == "number":
    (labels / "obj_detection/vg/a.json").write_text('{"255": 1}')
    return ValueError, r"names '255', where numbers go from 0 to 254"
  if what == "torch":
    (labels / "ocr_detection/vg/a.pt").write_text("words")
    return ValueError, r"a\.pt is not a zip archive"
  (labels / "ocr_detection/vg/a.pt").unlink()
  (labels / "ocr_detection/vg/a.json").write_text('{"0": "x"}')
  if what == "features":
    return FileNotFoundError, r"no .*a\.npz, which belongs to .*a\.json"
  np.savez(labels / "ocr_detection/vg/a.npz", features=np.ones((2, 64)))
  return ValueError, r"features of shape \(2, 64\), but .* has 1 words"


@pytest.mark.parametrize(
  "what",
  [
    *("missing", "size", "mode", "damaged", "classes", "json", "unknown", "class", "number"),
    *("torch", "features", "rows"),
  ],
)
def test_bad_files_are_named(folder, what):
  error, message = spoil(folder, what)
  files = read(folder)
  with pytest.raises(error, match=message):
    files[0]
  assert files[1]["size"].tolist() == [16, 12]
  if what == "missing":
    with pytest.raises(FileNotFoundError, match=r"no file .*depth/vg/a\.png, of image 'vg/a\.jpg'"):
      files.fingerprint()


def test_bad_calls_are_named(folder):
  with pytest.raises(ValueError, match=r"experts \['seg_cocoa'\] are not known; there are depth"):
    read(folder, wanted=("seg_cocoa",))
  with pytest.raises(ValueError, match=r"'vg/a\.jpg' and 'vg/a\.png' would share the labels vg/a"):
    read(folder, names=("vg/a.jpg", "vg/a.png"))
  # Labels are written by these names: none may lie elsewhere.
  for name in ("vg/../../a.jpg", str(folder / "a.jpg")):
    with pytest.raises(ValueError, match=r"the name must lead from the folder .* got '.*a\.jpg'"):
      read(folder, names=(name,))
    with pytest.raises(ValueError, match="the name must lead from the folder"):
      experts.fill([name], [folder / "a.jpg"], folder / "labels", {"edge": experts.edges})
  with pytest.raises(FileNotFoundError, match=r"labels: there is no folder .*gone"):
    experts.ExpertFiles(["a"], ["a"], folder / "gone", ["depth"])
  batch = {"rgb": jnp.zeros((1, 8, 8, 3), jnp.uint8), "seg": jnp.zeros((1, 8, 8, 1), jnp.uint8)}
  with pytest.raises(ValueError, match="tables must have features of 'seg', got only"):
    experts.model_inputs(batch, {})
  with pytest.raises(ValueError, match="'obj_detection_classes' beside them"):
    experts.model_inputs({"rgb": batch["rgb"], "obj_detection": batch["seg"]}, {})
  with pytest.raises(TypeError, match="seg must be uint8, got float32"):
    experts.resize({**batch, "seg": batch["seg"].astype(float)}, 4)
  with pytest.raises(ValueError, match=r"seg must have shape \(1, 8, 8, 1\).* got \(1, 4, 8, 1\)"):
    experts.resize({**batch, "seg": batch["seg"][:, :4]}, 4)
  table = experts.orthogonal_features(10)
  with pytest.raises(ValueError, match=r"'seg' have class 10, but its table has 10 classes"):
    experts.check_classes({"seg": np.array([[3, 10, 255]], np.uint8)}, {"seg": table})


def test_classes_that_a_table_lacks_are_named_with_their_file(folder):
  few = {"seg_coco": np.zeros((11, 64)), "obj_detection": np.zeros((723, 64))}
  paths = [folder / name for name in NAMES]
  files = experts.ExpertFiles(NAMES, paths, folder / "labels", ALL, side=30, tables=few)
  with pytest.raises(ValueError, match=r"labels/seg_coco/vg/a\.png: .*has 10 classes"):
    files[0]
  enough = {**few, "seg_coco": np.zeros((134, 64))}
  experts.ExpertFiles(NAMES, paths, folder / "labels", ALL, side=30, tables=enough)[0]


def test_the_model_is_given_quantities_and_features(folder):
  batch = read(folder).load()
  tables = {"ocr_detection": np.full((1, 64), 9.0)}
  tables["seg_coco"] = np.random.default_rng(0).standard_normal((134, 64)).astype(np.float32)
  tables["obj_detection"] = np.random.default_rng(1).standard_normal((723, 64)).astype(np.float32)
  experts.check_classes(batch, tables)
  found = jax.jit(experts.model_inputs)(batch, tables)
  normal = batch["normal"].astype(np.float64) / 255
  low, high = (f(normal, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
  np.testing.assert_allclose(
    found["normal"], 2 * (normal - low) / (high - low + 1e-6) - 1, atol=1e-6
  )
  seg = batch["seg_coco"][..., 0]
  np.testing.assert_array_equal(
    found["seg_coco"], tables["seg_coco"][np.where(seg > 132, 133, seg)]
  )
  objects = np.select([batch["obj_detection"][..., 0] == i for i in (0, 1)], [721, 17], 722)
  np.testing.assert_array_equal(found["obj_detection"], tables["obj_detection"][objects])
  np.testing.assert_array_equal(found["obj_instance"], batch["obj_detection"][..., 0])
  words = np.concatenate([batch["ocr_detection_features"], np.full((2, 1, 64), 9.0)], 1)
  numbers = np.minimum(batch["ocr_detection"][..., 0], 2)
  for i in range(2):
    np.testing.assert_array_equal(found["ocr_detection"][i], words[i][numbers[i]])
  np.testing.assert_allclose(
    found["rgb"][0, 3, 4],
    (batch["rgb"][0, 3, 4] / 255 - experts.CLIP_MEAN) / experts.CLIP_STD,
    rtol=1e-5,
  )
  config = prismer.Config.tiny(image_size=30, experts=prismer.Config.base().experts)
  model = prismer.Prismer(config)
  ids = jnp.ones((2, 4), int)
  variables = jax.eval_shape(model.init, jax.random.key(0), found, ids, ids)
  encode = functools.partial(model.apply, method="encode")
  assert jax.eval_shape(encode, variables, found).shape == (2, 9 + 6, 32)


def test_tables_of_features(tmp_path):
  table = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
  np.savez(tmp_path / "a.npz", features=table, names=np.arange(5))
  np.testing.assert_array_equal(experts.read_features(tmp_path / "a.npz"), table)
  (tmp_path / "b.pt").write_text("no table")
  with pytest.raises(ValueError, match=r"b\.pt cannot be read as a table of features"):
    experts.read_features(tmp_path / "b.pt")
  np.savez(tmp_path / "c.npz", one=table, two=table)
  with pytest.raises(ValueError, match=r"c\.npz .*none is called 'features'"):
    experts.read_features(tmp_path / "c.npz")

  calls = []

  def encode(texts):
    calls.append(texts)
    return np.random.default_rng(len(texts)).standard_normal((len(texts), 20)) + 3

  names = [f"thing {i}" for i in range(30)]
  first = experts.encode_names(names, encode, channels=8, cache=tmp_path, encoder="x")
  again = experts.encode_names(names, encode, channels=8, cache=tmp_path, encoder="x")
  np.testing.assert_array_equal(first, again)
  assert len(calls) == 1
  assert calls[0][-1] == "background"
  experts.encode_names(names[1:], encode, channels=8, cache=tmp_path, encoder="x")
  experts.encode_names(names, encode, channels=8, cache=tmp_path, encoder="y")
  assert len(calls) == 3
  centred = encode([*names, "background"])
  centred -= centred.mean(0)
  values, vectors = np.linalg.eigh(centred.T @ centred)
  np.testing.assert_allclose((first**2).sum(0), values[::-1][:8], rtol=1e-4)
  np.testing.assert_allclose(np.abs(first), np.abs(centred @ vectors[:, ::-1][:, :8]), atol=1e-4)
  few = experts.encode_names(["a", "b"], encode)
  assert few.shape == (3, 64)
  assert not few[:, 3:].any()
  with pytest.raises(ValueError, match="encoder must name what encodes"):
    experts.encode_names(names, encode, cache=tmp_path)


def test_crops_are_pillows():
  rng = np.random.default_rng(0)
  small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8))
  image = np.asarray(small.resize((43, 37), Image.Resampling.BICUBIC))
  take = jax.jit(lambda b: (crop.bicubic(image, b, 16), crop.nearest(jnp.asarray(image), b, 16)))
  for top, left, height, width in ((0, 0, 37, 43), (5, 7, 30, 20), (10, 3, 9, 12)):
    box = crop.Box(jnp.array([top, left]), jnp.array([height, width]))
    smooth, nearest = take(box)
    part = Image.fromarray(image).crop((left, top, left + width, top + height))
    wanted = part.resize((16, 16), Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(smooth, int) - np.asarray(wanted, int))
    assert difference.max() <= 1
    np.testing.assert_array_equal(nearest, part.resize((16, 16), Image.Resampling.NEAREST))

  draws = np.random.default_rng(1).random((500, crop.DRAWS), np.float32)
  size = jnp.array([40, 60])
  draw = jax.jit(jax.vmap(crop.random_box, (0, None, None, None)))
  corner, extent = map(np.asarray, draw(draws, size, (0.5, 1.0), (3 / 4, 4 / 3)))
  assert ((corner >= 0) & (corner + extent <= [40, 60])).all()
  share, ratio = extent.prod(1) / 2400, extent[:, 1] / extent[:, 0]
  assert share.min() == pytest.approx(0.5, abs=0.03)
  assert 0.74 < ratio.min() < 0.8
  assert ratio.max() < 1.37
  # A square does not fit where more is asked for than there is: the largest in the middle.
  corner, extent = map(np.asarray, draw(draws, size, (1.4, 1.5), (1.0, 1.0)))
  assert (corner == [0, 10]).all()
  assert (extent == 40).all()


def pillow(name, sign, image, fill):
  side = image.size[0]
  affine = {
    "shear_x": (1, sign * 0.15, 0, 0, 1, 0),
    "shear_y": (1, 0, 0, sign * 0.15, 1, 0),
    "translate_x": (1, 0, sign * 0.165 * side, 0, 1, 0),
    "translate_y": (1, 0, 0, 0, 1, sign * 0.165 * side),
  }
  if name in affine:
    return image.transform(image.size, Image.Transform.AFFINE, affine[name], fillcolor=fill)
  return image.rotate(sign * 15, fillcolor=fill) if name == "rotate" else image


def test_operations_are_pillows_and_move_labels_with_their_image():
  rng = np.random.default_rng(0)
  image = np.asarray(Image.fromarray(rng.integers(40, 190, (9, 11, 3), np.uint8)).resize((24, 24)))
  maps = {"rgb": image}
  maps["seg"] = rng.integers(0, 9, (24, 24, 1), np.uint8)
  maps["depth"] = rng.integers(1, 255, (24, 24, 1), np.uint8)
  apply = jax.jit(rand_augment.apply, static_argnames="translate_labels")
  for number, name in enumerate(rand_augment.OPERATIONS):
    for sign in (1, -1) if 0 < number < 6 else (1,):
      done = rand_augment.Operation(jnp.array(number), jnp.array(sign))
      found = apply(done, maps)
      wanted = pillow(name, sign, Image.fromarray(image), (0, 0, 0))
      wanted = {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}.get(
        name, lambda x: x
      )(wanted)
      # Pillow stretches by a number that is not whole, and may so cut to the level below.
      close = 1 if name == "autocontrast" else 0
      np.testing.assert_allclose(found["rgb"].astype(int), wanted, atol=close, err_msg=name)
      for expert, fill in (("seg", 255), ("depth", 0)):
        moved = pillow(name, sign, Image.fromarray(maps[expert][..., 0]), fill)
        np.testing.assert_array_equal(found[expert][..., 0], moved, err_msg=name)
  translate = rand_augment.Operation(jnp.array(3), jnp.array(1))
  still = apply(translate, maps, translate_labels=False)
  np.testing.assert_array_equal(still["seg"], maps["seg"])
  assert not np.array_equal(still["rgb"], image)


def test_normals_turn_when_they_are_mirrored():
  normal = jnp.array([[[200, 10, 20], [0, 0, 0], [1, 2, 3]]], jnp.uint8)
  mirror = jax.jit(mirrored, static_argnames="mirror_normals")
  found = mirror({"normal": normal}, jnp.array(True))["normal"]
  assert found[0].tolist() == [[254, 2, 3], [0, 0, 0], [55, 10, 20]]
  kept = mirror({"normal": normal}, jnp.array(True), mirror_normals=False)["normal"]
  np.testing.assert_array_equal(kept, normal[:, ::-1])
  np.testing.assert_array_equal(mirror({"normal": normal}, jnp.array(False))["normal"], normal)


def test_labels_stay_with_their_images():
  """A label that is a copy of a binary image stays one but for the image's smooth edges."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 2, (6, 5, 7, 1)).astype(np.uint8)
  seg = np.kron(coarse, np.ones((1, 8, 8, 1), np.uint8))[:, :, :50]
  image = np.broadcast_to(254 - 253 * seg, (*seg.shape[:3], 3)).astype(np.uint8)
  batch = {
    "rgb": image,
    "seg": seg,
    "size": np.array([[40, 50]] * 6, np.int32),
    "other": np.ones(6),
  }
  augment = jax.jit(experts.augment, static_argnames=("side",))
  found = augment(jax.random.key(1), batch, side=32)
  assert found["rgb"].shape == (6, 32, 32, 3)
  assert set(found) == {"rgb", "seg", "other"}
  rgb, label = np.asarray(found["rgb"]).astype(int), np.asarray(found["seg"])[..., 0]
  beyond = label == 255
  assert beyond.any()
  assert (rgb[beyond] == rgb[beyond][0]).all()  # black, or what equalising makes of it
  agree = ((rgb[..., 0] < 127) == (label == 1)) | beyond
  assert agree.mean() > 0.97
  again = augment(jax.random.key(1), batch, side=32)
  np.testing.assert_array_equal(again["rgb"], found["rgb"])
  assert len({label[i].tobytes() for i in range(6)}) == 6
  # Images that do not fill the array: nothing of what is beyond is seen.
  batch["size"] = np.array([[20, 25]] * 6, np.int32)
  batch["rgb"] = np.where(np.arange(50)[:, None] < 25, 77, 200) * np.ones((6, 40, 1, 3))
  batch["rgb"] = batch["rgb"].astype(np.uint8)
  assert (np.asarray(experts.resize(batch, 16)["rgb"]) == 77).all()


def test_labels_are_spoiled_by_as_much_as_is_asked():
  label = jnp.full((8, 20, 20, 3), 200, jnp.uint8)
  bad = experts.corrupt(jax.random.key(0), label, 0.3, values=10)
  changed = np.asarray(bad != label).all(-1)
  assert changed.mean() == pytest.approx(0.3, abs=0.03)
  np.testing.assert_array_equal(changed, np.asarray(bad != label).any(-1))
  assert np.asarray(bad)[changed].max() == 9
  assert len(np.unique(experts.noise_like(jax.random.key(1), label))) == 256
  np.testing.assert_array_equal(experts.corrupt(jax.random.key(0), label, 0.0), label)
  with pytest.raises(ValueError, match="share must be from 0 to 1"):
    experts.corrupt(jax.random.key(0), label, 1.5)


def test_folders_are_filled_and_faults_are_listed(folder, monkeypatch):
  (folder / "vg/bad.jpg").write_bytes(b"\xff\xd8nothing")
  names = (*NAMES, "vg/bad.jpg")
  paths = [folder / name for name in names]
  calls = []

  def objects(image):
    calls.append(image.shape)
    image[:] = 0  # its own copy
    label = np.full(image.shape[:2], 255, np.uint8)
    label[:3] = 4
    return experts.Label(label, {4: 9})

  def fails(image):
    return image if image.shape[0] == 16 else experts.depth_label(image.sum(-1))

  def words(image):
    corners = np.array([[1, 1], [8, 1], [8, 6], [1, 6]])
    found = [(corners, "STOP", 0.9), (corners / 2, "sm", 0.8)]
    return words_label(found, image.shape[:2], experts.encode_letters)

  asked = {"edge": experts.edges, "obj_detection": objects, "depth": fails, "ocr_detection": words}
  seen = []
  faults = experts.fill(
    names, paths, folder / "new", asked, on_image=lambda *done: seen.append(done)
  )
  assert seen == [(1, 3), (2, 3), (3, 3)]
  assert [(fault.path.name, fault.expert) for fault in faults] == [
    ("b.png", "depth"),
    ("bad.jpg", ""),
  ]
  assert "depth must give uint8 of shape (16, 12), got uint8 of (16, 12, 3)" in faults[0].error
  assert not list((folder / "new").rglob("*.tmp"))
  files = experts.ExpertFiles(names[:1], paths[:1], folder / "new", list(asked), side=30)
  loaded = files.load()
  assert loaded["obj_detection_classes"].tolist() == [[-1] * 4 + [9]]
  with Image.open(paths[0]) as image:
    edges = experts.edges(np.asarray(image))
  np.testing.assert_array_equal(loaded["edge"][0, :20, :, 0], edges)
  stop = experts.encode_letters(["stop", "sm"])
  np.testing.assert_allclose(loaded["ocr_detection_features"][0], stop, rtol=1e-6)
  assert set(np.unique(loaded["ocr_detection"])) == {0, 1, 255}
  assert loaded["ocr_detection"][0, 2, 2, 0] == 1  # the smaller one is in front
  assert json.loads((folder / "new/ocr_detection/vg/a.json").read_text()) == {
    "0": "stop",
    "1": "sm",
  }

  # What is there is not made again; what was not, is.
  asked["depth"] = lambda image: experts.depth_label(image.sum(-1))
  assert [fault.path.name for fault in experts.fill(names, paths, folder / "new", asked)] == [
    "bad.jpg"
  ]
  assert len(calls) == 2
  assert (folder / "new/depth/vg/in/b.png").is_file()

  def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(Image.Image, "save", full)
  with pytest.raises(OSError, match="No space left"):
    experts.fill(names[:1], paths[:1], folder / "other", {"edge": experts.edges})


def test_outputs_of_networks_become_labels():
  logits = np.zeros((4, 6, 3))
  logits[:, 3:, 2] = 5
  label = experts.map_label("classes", logits, (8, 12))
  assert label.shape == (8, 12)
  assert set(label[:, 8:].ravel()) == {2}
  numbers = experts.map_label("classes", np.array([[0, 250]]), (2, 4))
  assert numbers.tolist() == [[0, 0, 250, 250]] * 2
  edge = experts.map_label("edge", np.array([[0.0, 1.0]]), (1, 2))
  assert edge.tolist() == [[255, 0]]
  normal = experts.map_label("normal", np.array([[[3.0, 0, 0], [0, 0, 0]]]), (1, 2))
  assert normal.tolist() == [[[255, 128, 128], [0, 0, 0]]]
  with pytest.raises(ValueError, match="values that are not finite"):
    experts.map_label("depth", np.array([[np.nan, 1.0]]), (1, 2))
  with pytest.raises(ValueError, match=r"kind must be one of nearness.* got 'heat'"):
    experts.map_label("heat", logits, (8, 12))


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("edges", "an expert of one's own is 'module:function', got 'edges'"),
    ("no_such_module:f", "there is no module 'no_such_module'"),
    ("jaxmtl.data:nothing", "module 'jaxmtl.data' has no 'nothing'"),
    ("jaxmtl.data:CIFAR_MEAN", "is a tuple, not a function"),
  ],
)
def test_experts_of_one_s_own_are_found_by_name(name, message):
  assert experts.load_function("jaxmtl.data:digit_scenes") is data.digit_scenes
  with pytest.raises(ValueError, match=message):
    experts.load_function(name)
