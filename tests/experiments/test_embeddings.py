"""Features of frozen encoders, maps of them, and simple classifiers on them."""

import numpy as np
import pytest

from experiments.runner import embeddings


@pytest.fixture(scope="module")
def clusters():
  """Two runs' features of 60 examples of three classes, far apart in the first run alone."""
  labels = np.arange(60) % 3
  rng = np.random.default_rng(0)
  apart = 20 * np.eye(3)[labels] + rng.normal(size=(60, 3))
  return np.stack([apart, rng.normal(size=(60, 3))]), labels


def test_features_of_whole_data_are_those_of_its_batches():
  traced = []

  def encode(variables, batch):
    traced.append(batch["x"].shape)
    return batch["x"] * variables["w"]

  examples = {"x": np.arange(14, dtype=np.float32).reshape(7, 2)}
  variables = {"w": np.array([1.0, 3.0], np.float32)}
  for _ in range(2):
    found = embeddings.features(encode, variables, examples, batch_size=3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [examples["x"], 3 * examples["x"]])
  # The last batch is padded, and the encoder compiled once.
  assert traced == [(3, 2)]


def test_a_map_keeps_neighbours_together_and_says_what_it_does(clusters, capsys):
  (apart, _), labels = clusters
  points = embeddings.tsne(apart, name="equal")
  assert points.shape == (60, 2)
  assert np.isfinite(points).all()
  distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(60)
  assert (labels[distances.argmin(1)] == labels).mean() > 0.95
  assert "equal: t-SNE of 60 examples' features" in capsys.readouterr().out


def test_classifiers_learn_each_task_from_each_run(clusters, capsys):
  features, labels = clusters
  train, test = {"x": labels[:30]}, {"x": labels[30:]}
  found = embeddings.probes(features[:, :30], train, features[:, 30:], test, name="equal")
  assert set(found) == {"DT", "SVM", "kNN"}
  for by_task in found.values():
    known, unknown = by_task["x"]
    assert known == 100
    assert unknown < 80
  assert "equal: DT, SVM, kNN on features of 30 examples" in capsys.readouterr().out
