import numpy as np
import pytest

from jaxmtl.data import by_domain, load_tasks


def test_images_keep_their_domain_and_class():
  rng = np.random.default_rng(0)
  classes = rng.permutation(np.repeat([4, 7, 1, 9], [6, 5, 7, 6]))
  domains = np.isin(classes, (1, 4)).astype(int)
  images = np.broadcast_to(classes.astype(np.uint8)[:, None, None, None], (24, 2, 2, 3))
  cut = by_domain(images, classes, domains)
  assert cut.images.shape == (11, 2, 2, 2, 3)  # as many as the smaller domain has
  np.testing.assert_array_equal(
    np.array([[7, 9], [1, 4]])[[0, 1], cut.labels], cut.images[..., 0, 0, 0]
  )


@pytest.mark.parametrize("classes", [[0, 1, 1, 2], [0, 1, 2, 2]])
def test_classes_must_be_split_evenly(classes):
  with pytest.raises(ValueError, match="classes must be split evenly among the domains"):
    by_domain(np.zeros((4, 2, 2, 1), np.uint8), np.array(classes), np.array([0, 0, 1, 1]))


def test_several_labels_of_an_image(write_tfds, examples):
  folder = write_tfds({"train": examples(12), "test": examples(6)}, coarse=True)
  parts = load_tasks(
    "tiny", ("coarse_label", "label"), data_dir=folder, validation=0.5, image_size=4
  )
  assert parts.num_classes == {"coarse_label": 2, "label": 3}
  assert parts.test.images.shape == (6, 4, 4, 3)
  assert parts.test.labels["label"].tolist() == [0, 1, 2, 0, 1, 2]
  assert parts.test.labels["coarse_label"].tolist() == [0, 1, 0, 0, 1, 0]
  assert len(parts.train.images) == len(parts.validation.images) == 6
  assert np.bincount(parts.validation.labels["coarse_label"]).tolist() == [4, 2]
  with pytest.raises(ValueError, match=r"label_key must be one of .*coarse_label.*got 'fine'"):
    load_tasks("tiny", ("fine",), data_dir=folder)
  with pytest.raises(ValueError, match=r"validation must be in \[0, 1\)"):
    load_tasks("tiny", ("label",), data_dir=folder, validation=1.0)


def test_a_dict_of_truth_values(write_tfds, examples):
  rng = np.random.default_rng(2)
  truth = rng.integers(2, size=(5, 2)).astype(bool)
  images = [image for image, _ in examples(5)]
  labels = [{"attributes": dict(zip(("Young", "Bald"), row, strict=True))} for row in truth]
  split = list(zip(images, labels, strict=True))
  kinds = {"attributes": {"Young": bool, "Bald": bool}}
  folder = write_tfds({"train": split, "validation": split, "test": split}, labels=kinds)
  parts = load_tasks("tiny", ("attributes",), data_dir=folder)
  assert parts.num_classes == {"Bald": 2, "Young": 2}  # sorted, as features are
  np.testing.assert_array_equal(parts.validation.labels["Young"], truth[:, 0])
  np.testing.assert_array_equal(parts.test.labels["Bald"], truth[:, 1])
