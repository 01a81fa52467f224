"""Dense tasks as a problem: losses that void pixels do not touch, metrics as the papers average."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from experiments.problems.maps import MapImages, MapTask, map_problem
from jaxmtl import metrics, training

KINDS = {
  "segmentation": MapTask("classes", 4, ("a", "b", "c", "d")),
  "depth": MapTask("depth", 1),
  "normal": MapTask("normal", 3),
  "disparity": MapTask("disparity", 1),
  "noise": MapTask("noise", 1),
}
VOID = {"segmentation": -1, "depth": 0, "normal": 0, "disparity": -1}


class PerPixel(nn.Module):
  """A linear layer a task, of each pixel by itself."""

  @nn.compact
  def __call__(self, images, train=False):
    return {t: nn.Dense(kind.outputs, name=t)(images) for t, kind in KINDS.items()}


@pytest.fixture(scope="module")
def examples():
  rng = np.random.default_rng(0)
  count, size = 7, (5, 6)
  found = {
    "image": rng.integers(0, 256, (count, *size, 3), dtype=np.uint8),
    "segmentation": rng.integers(-1, 4, (count, *size)).astype(np.int8),
  }
  valid = rng.random((count, *size, 1)) < 0.7
  valid[3] = False  # an image without a label
  normal = rng.normal(size=(count, *size, 3))
  normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
  found["depth"] = np.where(valid, rng.uniform(1, 5, (count, *size, 1)), 0).astype(np.float32)
  found["normal"] = np.where(valid, normal, 0).astype(np.float32)
  found["disparity"] = np.where(valid, rng.random((count, *size, 1)), -1).astype(np.float32)
  found["noise"] = rng.random((count, *size, 1)).astype(np.float32)
  return found


@pytest.fixture(scope="module")
def problem(examples):
  images = MapImages({"train": examples, "test": examples}, KINDS, {})
  return map_problem(images, tuple(KINDS), PerPixel(), batch_size=3)


@jax.jit
def confusion_of(predictions, labels):
  return metrics.confusion_matrix(predictions, labels, 4)


def test_metrics_are_averaged_as_the_papers_do(problem, examples):
  keys = jax.random.split(jax.random.key(0), 2)
  variables = jax.jit(jax.vmap(lambda key: problem.init(key, None)))(keys)
  predict = jax.jit(problem.predict)
  evaluate = training.evaluator(problem.predict, problem.metrics, batch_size=3, runs=True)
  found = evaluate(variables, examples)
  for run in range(2):
    own = jax.tree.map(lambda leaf, run=run: np.asarray(leaf)[run], variables)
    outputs = {t: np.asarray(x) for t, x in predict(own, examples).items()}
    confusion = confusion_of(outputs["segmentation"].argmax(-1), examples["segmentation"])
    want = 100 * float(metrics.mean_iou(confusion))
    assert found["miou"]["segmentation"][run] == pytest.approx(want, rel=1e-5)
    by_class = [found["iou"][name][run] for name in KINDS["segmentation"].names]
    assert np.nanmean(by_class) == pytest.approx(want, rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(outputs["normal"], axis=-1), 1, rtol=1e-5)
    errors = {t: np.abs(outputs[t] - examples[t])[..., 0] for t in ("depth", "disparity", "noise")}
    angles = jax.jit(metrics.angles)(outputs["normal"], examples["normal"])
    errors["normal"] = np.asarray(angles)
    for task, error in errors.items():
      name = "angle" if task == "normal" else "absolute_error"
      known = np.ones(error.shape, bool)
      if task in VOID:
        known = (examples[task] != VOID[task]).any(-1)
      batches = [slice(0, 3), slice(3, 6), slice(6, 7)]
      of_batch = [error[b][known[b]].mean() for b in batches]
      want = np.average(of_batch, weights=[3, 3, 1])
      assert found[name][task][run] == pytest.approx(want, rel=1e-4)
      if name == "absolute_error":
        by_pixel = found["absolute_error_by_pixel"][task][run]
        assert by_pixel == pytest.approx(error[known].mean(), rel=1e-4)
      else:
        angles = error[known]
        assert found["median_angle"][task][run] == pytest.approx(np.median(angles), abs=1.0)
        assert found["within_30"][task][run] == pytest.approx(100 * (angles < 30).mean(), abs=1)


def test_what_lies_beneath_void_changes_neither_losses_nor_gradients(problem, examples):
  prepare = jax.jit(problem.prepare)
  batch = prepare(jax.random.key(0), {k: v[:3] for k, v in examples.items()})
  variables = jax.jit(lambda key: problem.init(key, None))(jax.random.key(1))

  @jax.jit
  def of(batch):
    def total(params):
      values, _ = problem.losses_fn(params, {"batch_stats": {}}, batch, jax.random.key(2))
      return values.sum(), values

    return jax.value_and_grad(total, has_aux=True)(variables["params"])

  (_, losses), grads = of(batch)
  assert (np.asarray(losses) > 0).all()
  assert losses.shape == (5,)
  # Pixels of the image where nothing at all is known but noise; those change.
  known = {name: np.asarray(values) for name, values in batch.items()}
  hidden = (
    (known["segmentation"] == -1)
    & (known["depth"] == 0).all(-1)
    & (known["disparity"] == -1).all(-1)
  )
  assert hidden.any()
  image = np.where(hidden[..., None], 9.0, np.asarray(batch["image"]))
  (_, others), other_grads = of(batch | {"image": image})
  np.testing.assert_array_equal(np.asarray(losses)[:4], np.asarray(others)[:4])
  for task in VOID:
    for leaf, other in zip(*(jax.tree.leaves(g[task]) for g in (grads, other_grads)), strict=True):
      np.testing.assert_array_equal(leaf, other)
  assert losses[4] != others[4]


def test_a_batch_without_labels_has_no_part(problem, examples):
  batch = {k: v[3:4] for k, v in examples.items()}
  batch["segmentation"] = np.full_like(batch["segmentation"], -1)

  @jax.jit
  def found(batch):
    batch = problem.prepare(jax.random.key(0), batch)
    params = problem.init(jax.random.key(1), None)["params"]
    return problem.losses_fn(params, {"batch_stats": {}}, batch, jax.random.key(2))

  losses, aux = found(batch)
  assert np.asarray(losses)[:4].tolist() == [0, 0, 0, 0]
  assert losses[4] > 0
  assert aux.mask is None  # the losses tell


def test_what_is_no_number_is_never_right(problem, examples):
  batch = {"valid": np.ones(7, bool), **examples}
  nothing = {t: np.full((7, 5, 6, kind.outputs), np.nan, np.float32) for t, kind in KINDS.items()}
  confusion = jax.jit(problem.metrics["miou"].count)(nothing, batch)["segmentation"]
  assert confusion.sum() == (examples["segmentation"] >= 0).sum()
  assert not np.diag(confusion).any()
  angles = jax.jit(problem.metrics["angle"].count)(nothing, batch)["normal"]
  known = (examples["normal"] != 0).any(-1).sum()
  assert angles["histogram"][-1] == known > 0
  assert problem.metrics["within_30"].value(jax.tree.map(np.asarray, angles)) == 0
