"""DeepLab's Split against torchvision: outputs of a checkpoint, and a training step.

Needs the extra `torch`. All weights, scales and running statistics are random.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from torchvision.models import segmentation

from experiments.problems.maps import MapImages, MapTask, map_problem
from jaxmtl import models

TASKS = {
  "segmentation": MapTask("classes", 5),
  "depth": MapTask("depth", 1),
  "normal": MapTask("normal", 3),
}
OUTPUTS = {task: kind.outputs for task, kind in TASKS.items()}


def randomised(net, seed=0):
  """What each layer makes has about the size of what it reads, as in a trained network."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, value in net.state_dict().items():
      if name.endswith("running_var"):
        value.uniform_(0.5, 2.0, generator=generator)
      elif value.ndim == 1 and name.endswith("weight"):
        value.uniform_(0.3, 1.2, generator=generator)
      elif value.ndim == 1:
        value.normal_(0, 0.3, generator=generator)
  return net


def channels_first(x):
  return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def split(width=256):
  return models.deeplab(models.create("resnet50", output_stride=8), OUTPUTS, features=width)


def resized(x, size):
  return torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=True)


def test_a_checkpoint_gives_torchvisions_output(tmp_path):
  net = randomised(segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None)).eval()
  torch.save(net.state_dict(), tmp_path / "net.pth")
  images = np.random.default_rng(0).normal(size=(1, 41, 57, 3)).astype(np.float32)
  with torch.no_grad():
    expected = resized(net.classifier(net.backbone(channels_first(images))["out"]), (41, 57))
  ours = models.deeplab(
    models.create("resnet50", output_stride=8), {"segmentation": 21, "depth": 1}
  )
  shapes = jax.eval_shape(ours.init, jax.random.key(0), images)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  variables = models.load_pretrained(
    "resnet50", tmp_path / "net.pth", zeros, heads=("segmentation",)
  )
  got = jax.jit(ours.apply)(variables, images)["segmentation"]
  error = np.abs(np.moveaxis(got, -1, 1) - expected.numpy()).max() / float(expected.std())
  assert expected.std() > 0.01
  assert error < 1e-4


class TorchSplit(torch.nn.Module):
  """A trunk and a head a task, without the dropout."""

  def __init__(self):
    super().__init__()
    self.backbone = segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None).backbone
    head = segmentation.deeplabv3.DeepLabHead
    self.heads = torch.nn.ModuleDict({t: head(2048, n) for t, n in OUTPUTS.items()})
    for module in self.heads.modules():
      if isinstance(module, torch.nn.Dropout):
        module.p = 0.0

  def forward(self, images):
    features = self.backbone(images)["out"]
    return {t: resized(head(features), images.shape[2:]) for t, head in self.heads.items()}

  def losses(self, batch):
    """The released program's: cross-entropy, and L1 over pixels that have a label."""
    outputs = self(channels_first(batch["image"]))
    classes = torch.from_numpy(batch["segmentation"]).long()
    depth, normal = channels_first(batch["depth"]), channels_first(batch["normal"])
    unit = torch.nn.functional.normalize(outputs["normal"], dim=1)
    has_depth, has_normal = depth != 0, normal.abs().sum(1, keepdim=True) != 0
    return [
      torch.nn.functional.cross_entropy(outputs["segmentation"], classes, ignore_index=-1),
      ((outputs["depth"] - depth).abs() * has_depth).sum() / has_depth.sum(),
      ((unit - normal).abs() * has_normal).sum() / has_normal.sum(),
    ]

  def saved(self, tmp_path, values):
    """`values` by name as the variables of our network, task by task from a file of torchvision's
    names."""
    variables = jax.eval_shape(split().init, jax.random.key(0), jnp.zeros((1, 33, 41, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), variables)
    for task in OUTPUTS:
      state = {
        name.replace(f"heads.{task}.", "classifier."): value
        for name, value in values.items()
        if name.startswith(("backbone.", f"heads.{task}."))
      }
      torch.save(state, tmp_path / f"{task}.pth")
      variables = models.load_pretrained(
        "resnet50", tmp_path / f"{task}.pth", variables, heads=(task,)
      )
    return variables


def test_a_steps_losses_gradients_and_statistics_are_torchs(tmp_path, x64):
  """In double precision: so deep a network, normalised by its batch, multiplies roundings."""
  rng, size = np.random.default_rng(1), (2, 65, 81)
  normal = rng.normal(size=(*size, 3))
  batch = {
    "image": rng.uniform(-1, 1, size=(*size, 3)),
    "segmentation": rng.integers(-1, 5, size=size).astype(np.int32),
    "depth": (rng.uniform(1, 5, size=(*size, 1)) * (rng.random((*size, 1)) > 0.2)),
    "normal": normal / np.linalg.norm(normal, axis=-1, keepdims=True),
  }
  batch["normal"][:, :9] = 0
  net = randomised(TorchSplit()).train().double()
  before = {name: value.clone() for name, value in net.state_dict().items()}
  variables = net.saved(tmp_path, before)
  images = MapImages({"train": batch}, TASKS, {})
  problem = map_problem(images, tuple(TASKS), split())

  expected = net.losses(batch)
  sum(expected).backward()
  state = {k: v for k, v in variables.items() if k != "params"}

  def total(params):
    values, aux = problem.losses_fn(params, state, batch, jax.random.key(0))
    return values.sum(), (values, aux.model_state)

  grads, (values, updated) = jax.jit(jax.grad(total, has_aux=True))(variables["params"])
  np.testing.assert_allclose(values, [loss.item() for loss in expected], rtol=1e-4)

  gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
  theirs = net.saved(tmp_path, net.state_dict() | gradients)
  whole = [
    np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    for tree in (grads, theirs["params"])
  ]
  assert np.linalg.norm(whole[0] - whole[1]) < 2e-5 * np.linalg.norm(
    whole[1]
  )  # heads end in float32

  # Running means are equal. Of variances PyTorch keeps n / (n - 1) times the batch's, Flax the
  # batch's: 2 times in the branch that sees one number an image, nearly the same elsewhere.
  for path, new in jax.tree_util.tree_leaves_with_path(updated["batch_stats"]):
    want, old = (at(tree["batch_stats"], path) for tree in (theirs, variables))
    if path[-1].key == "mean":
      np.testing.assert_allclose(new, want, rtol=1e-5, atol=1e-6)
    else:
      want, new = want - 0.9 * old, new - 0.9 * old
      ratio = want.sum() / new.sum()
      assert ratio == pytest.approx(2, rel=1e-3) if path[-2].key == "mean_norm" else 1 < ratio < 1.1
      np.testing.assert_allclose(new * ratio, want, rtol=1e-3, atol=1e-5)


def at(tree, path):
  """The leaf of a path."""
  for part in path:
    tree = tree[part.key]
  return tree
