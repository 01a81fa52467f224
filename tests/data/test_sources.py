import numpy as np
import pytest

from jaxmtl.data import ImageDataset, arrays, load


def _identities(data):
  return {image.tobytes() for image in data.images}


def test_digits_parts_are_stratified_and_disjoint():
  splits = load("digits")
  parts = splits[:3]
  assert [len(part) for part in parts] == [1078, 360, 359]
  for part in parts:
    assert part.images.shape[1:] == (8, 8, 1)
    assert (part.images.min(), part.images.max()) == (0, 255)
    counts = np.bincount(part.labels, minlength=10) / len(part)
    np.testing.assert_allclose(counts, 0.1, atol=0.01)
  # No image of the 1,797 occurs twice, so that identity is by content.
  assert len(_identities(splits.train) | _identities(splits.validation)) == 1438
  assert not _identities(splits.test) & (_identities(splits.train) | _identities(splits.validation))


def test_digits_test_part_does_not_depend_on_the_seed():
  one, two = load("digits", seed=1), load("digits", seed=2, validation=0.1)
  np.testing.assert_array_equal(one.test.images, two.test.images)
  assert not np.array_equal(one.train.labels[:50], two.train.labels[:50])
  assert len(two.validation) == 144


def test_digits_can_be_enlarged():
  assert load("digits", image_size=16).test.images.shape[1:] == (16, 16, 1)


@pytest.fixture
def parts():
  rng = np.random.default_rng(0)
  return {
    "train_images": rng.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8),
    "train_labels": np.arange(20) % 4,
    "test_images": rng.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8),
    "test_labels": np.array([0, 1, 2, 0]),
  }


def test_npz_with_parts(tmp_path, parts):
  np.savez(tmp_path / "a.npz", **parts)
  splits = load(str(tmp_path / "a.npz"))
  np.testing.assert_array_equal(splits.train.images, parts["train_images"])
  assert splits.validation is None
  assert splits.test.num_classes == 4  # Class 3 is absent from the test part.
  held_out = load(tmp_path / "a.npz", validation=0.2, image_size=3)
  assert len(held_out.validation) == 4
  assert held_out.test.images.shape == (4, 3, 3, 3)


def test_npz_with_names_and_validation(tmp_path, parts):
  np.savez(
    tmp_path / "a.npz",
    **parts,
    validation_images=parts["test_images"],
    validation_labels=parts["test_labels"],
    class_names=np.array(list("abcde")),
  )
  splits = load(str(tmp_path / "a.npz"))
  assert len(splits.validation) == 4
  assert splits.train.class_names == ("a", "b", "c", "d", "e")


def test_npz_without_parts_gets_a_fixed_test_set(tmp_path):
  images = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)
  np.savez(tmp_path / "a.npz", images=images, labels=np.arange(40) % 2)
  one, two = (load(str(tmp_path / "a.npz"), validation=0.25, seed=seed) for seed in (0, 1))
  np.testing.assert_array_equal(one.test.images, two.test.images)
  assert [len(part) for part in one[:3]] == [24, 8, 8]
  assert one.train.images.shape == (24, 4, 4, 1)


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    ({"test_labels": None}, ValueError, r"lacks the keys \['test_labels'\]"),
    ({"test_images": None, "test_labels": None}, ValueError, "lacks the keys"),
    ({"train_images": np.zeros((20, 6, 6, 3))}, ValueError, "must be uint8"),
    (
      {"train_images": np.zeros((20, 3, 6, 6), np.uint8)},
      ValueError,
      "must have their channels la",
    ),
    ({"test_images": np.zeros((4, 8, 8, 3), np.uint8)}, ValueError, r"one size .*image-size 64"),
    ({"test_labels": np.array([0, 1, 2, 255])}, ValueError, r"go up to 255, but none of them is 4"),
    ({"train_images": np.zeros((20, 6), np.uint8)}, ValueError, "got shape"),
    ({"train_labels": np.zeros(20)}, ValueError, "labels must be integers"),
    ({"train_labels": np.zeros(19, int)}, ValueError, "one integer an image"),
    ({"train_labels": np.full(20, -1)}, ValueError, r"got -1 \.\. -1"),
    ({"num_classes": 2}, ValueError, r"labels must be in 0"),
  ],
)
def test_npz_errors(tmp_path, parts, change, error, message):
  content = {k: v for k, v in {**parts, **change}.items() if v is not None}
  np.savez(tmp_path / "a.npz", **content)
  with pytest.raises(error, match=message):
    load(str(tmp_path / "a.npz"))


def test_npz_of_other_keys_and_no_file(tmp_path, parts):
  np.savez(tmp_path / "a.npz", x=np.zeros(3))
  with pytest.raises(ValueError, match=r"it has \['x'\].*Expected"):
    load(str(tmp_path / "a.npz"))
  with pytest.raises(FileNotFoundError, match="there is no file"):
    load(str(tmp_path / "b.npz"))


def test_an_npz_file_that_is_torn_is_named(tmp_path, parts):
  np.savez_compressed(tmp_path / "a.npz", **parts)
  whole = (tmp_path / "a.npz").read_bytes()
  middle = len(whole) // 3
  flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
  for content in (b"", whole[:-30], flipped, b"PK no archive"):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz' cannot be read as \.npz .*Expected"):
      load(str(tmp_path / "a.npz"))
  np.save(tmp_path / "b.npy", np.zeros(3))
  (tmp_path / "b.npy").rename(tmp_path / "b.npz")
  with pytest.raises(ValueError, match=r"b\.npz' cannot be read as \.npz"):
    load(str(tmp_path / "b.npz"))


def test_parts_of_unlike_sizes_may_be_brought_to_one(tmp_path, parts):
  np.savez(tmp_path / "a.npz", **parts | {"test_images": np.zeros((4, 8, 8, 3), np.uint8)})
  assert load(str(tmp_path / "a.npz"), image_size=6).test.images.shape[1:] == (6, 6, 3)


@pytest.mark.parametrize("options", [{"validation": 1.0}, {"validation": -0.1}, {"image_size": 0}])
def test_bad_options(options):
  with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
    load("digits", **options)


def test_arrays_and_subset():
  data = arrays(np.zeros((3, 4, 4), np.uint8), np.array([[0], [2], [1]]))
  assert isinstance(data, ImageDataset)
  assert (data.images.shape, data.num_classes, data.labels.tolist()) == ((3, 4, 4, 1), 3, [0, 2, 1])
  assert data.labels.dtype == np.int32
  assert data.subset([2, 0]).labels.tolist() == [1, 0]
  assert data.subset(slice(1, None)).labels.tolist() == [2, 1]
  assert len(data.subset([])) == 0
  assert data.subset([0]).num_classes == 3
  with pytest.raises(ValueError, match="class_names must name all 3"):
    arrays(np.zeros((1, 2, 2, 1), np.uint8), [0], num_classes=3, class_names=["a"])
  with pytest.raises(ValueError, match=r"go up to 255, but none of them is 2; .*num_classes=256"):
    arrays(np.zeros((3, 4, 4), np.uint8), [0, 1, 255])
  assert arrays(np.zeros((3, 4, 4), np.uint8), [0, 1, 255], num_classes=256).num_classes == 256
  with pytest.raises(ValueError, match="num_classes must be given"):
    arrays(np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, int))
