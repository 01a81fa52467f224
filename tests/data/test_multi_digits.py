import numpy as np
import pytest

from jaxmtl.data import ImageDataset, Splits, load, multi_digits

COUNTS = (300, 40, 60)
IMAGES = load("digits").train
WIDE = ImageDataset(np.zeros((3, 6, 8, 1), np.uint8), np.arange(3, dtype=np.int32), 3)


@pytest.fixture(scope="module")
def parts():
  return multi_digits(3, num_examples=COUNTS)


def test_shapes_dtypes_and_labels(parts):
  for part, count in zip(parts[:3], COUNTS, strict=True):
    assert part.images.shape == (count, 14, 14, 1)
    assert part.images.dtype == np.uint8
    labels = part.labels
    assert list(labels) == list(parts.num_classes)
    assert all(y.dtype == np.int32 and y.shape == (count,) for y in labels.values())
    np.testing.assert_array_equal(labels["sum"], labels["left"] + labels["right"])
    np.testing.assert_array_equal(labels["parity"], labels["sum"] % 2)
    for task, classes in parts.num_classes.items():
      assert labels[task].min() >= 0
      assert labels[task].max() < classes
  assert set(parts.train.labels["left"]) == set(parts.train.labels["noise"]) == set(range(10))


def test_the_seed_decides(parts):
  again, other = multi_digits(3, num_examples=COUNTS), multi_digits(4, num_examples=COUNTS)
  for one, two in zip(parts[:3], again[:3], strict=True):
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.labels["noise"], two.labels["noise"])
  assert (parts.train.images != other.train.images).any()
  assert (parts.train.labels["noise"] != other.train.labels["noise"]).any()


def plain_sources():
  """Digits that are squares: 10 + label in training, 100 + label, 200 + label in the test part."""
  labels = np.arange(10, dtype=np.int32)
  for base in (10, 100, 200):
    images = np.zeros((10, 8, 8, 1), np.uint8)
    images[:, 2:6, 2:6] = (base + labels)[:, None, None, None]
    yield ImageDataset(images, labels, 10)


@pytest.mark.parametrize("size", [10, 14, 16])
def test_parts_hold_their_own_digits_at_the_side_that_the_label_says(size):
  source = Splits(*plain_sources(), "squares")
  parts = multi_digits(0, source=source, size=size, num_examples=COUNTS)
  for base, part in zip((10, 100, 200), parts[:3], strict=True):
    values = part.images[..., 0].astype(int)
    assert set(np.unique(values)) <= {0, *range(base, base + 10)}
    for image, left, right in zip(values, part.labels["left"], part.labels["right"], strict=True):
      # The brighter digit covers the other one where they overlap, which never hides it all.
      columns = {d: np.flatnonzero((image == base + d).any(0)) for d in (left, right)}
      assert all(len(found) for found in columns.values())
      if left != right:
        assert columns[left].min() < columns[right].max()
        assert columns[left].min() <= columns[right].min()


def test_no_source_digit_is_in_two_parts():
  train, validation, test = ({image.tobytes() for image in p.images} for p in load("digits")[:3])
  assert not train & test
  assert not train & validation
  assert not validation & test


def test_other_images_and_classes():
  rng = np.random.default_rng(0)
  images = rng.integers(256, size=(30, 12, 12, 3)).astype(np.uint8)
  source = ImageDataset(images, (np.arange(30) % 4).astype(np.int32), 4)
  parts = multi_digits(0, source=Splits(source, source, source, "x"), num_examples=COUNTS)
  assert parts.train.images.shape == (300, 21, 21, 3)
  classes = {"left": 4, "right": 4, "sum": 7, "parity": 2, "noise": 10}
  assert parts.num_classes == classes
  assert all(parts.train.labels[task].max() == k - 1 for task, k in classes.items())


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"seed": -1}, "seed must not be negative, got -1"),
    ({"source": Splits(IMAGES, None, IMAGES, "x")}, "source has no validation part"),
    ({"source": Splits(*[WIDE] * 3, "x")}, "square images, got 6x8"),
    ({"size": 9}, "size must be from 10 to 16 pixels, got 9"),
    ({"size": 17}, "got 17"),
    ({"num_examples": (10, 0, 10)}, "num_examples must be positive"),
  ],
)
def test_bad_arguments_raise(options, message):
  with pytest.raises(ValueError, match=message):
    multi_digits(**options)
