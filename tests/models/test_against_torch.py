"""Every backbone against torchvision or timm: the same outputs for the same weights.

Needs the extra `torch`. Weights are random, and so are all biases, scales, running statistics,
layer scales and position tables, so that nothing hides behind a zero or a one.
"""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")

from jaxmtl import models
from jaxmtl.models.pretrained.positions import resize_positions


def _cifar_resnet(blocks):
  """Torchvision's residual blocks in the arrangement for small images."""
  nn, block = torch.nn, torchvision.models.resnet.BasicBlock
  net = nn.Sequential()
  net.conv1, net.bn1, net.relu = (
    nn.Conv2d(3, 16, 3, padding=1, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
  )
  channels = 16
  for i, width in enumerate((16, 32, 64)):
    short = nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))
    first = block(channels, width, 2, short) if i else block(channels, width)
    net.add_module(
      f"layer{i + 1}", nn.Sequential(first, *[block(width, width) for _ in range(blocks - 1)])
    )
    channels = width
  net.pool, net.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
  return net


def _convnet4():
  nn, layers = torch.nn, []
  for i in range(4):
    layers += [
      nn.Conv2d(64 if i else 3, 64, 3, padding=1),
      nn.BatchNorm2d(64),
      nn.ReLU(),
      nn.MaxPool2d(2),
    ]
  return _features(nn.Sequential(*layers))


def _features(layers):
  net = torch.nn.Sequential()
  net.features, net.pool, net.flat = layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
  return net


def _vision(name, **options):
  net = getattr(torchvision.models, name)(weights=None, **options)
  for head in ("fc", "head", "heads"):
    if hasattr(net, head):
      setattr(net, head, torch.nn.Identity())
  return net


def _timm(name, **options):
  return timm.create_model(name, pretrained=False, num_classes=0, **options)


# Name, options of ours, image size, the other's network.
CASES = {
  "convnet4": ("convnet4", {}, 32, _convnet4),
  "vgg16": ("vgg16", {}, 32, lambda: _features(torchvision.models.vgg16_bn(weights=None).features)),
  "vgg19": ("vgg19", {}, 64, lambda: _features(torchvision.models.vgg19_bn(weights=None).features)),
  "resnet18": ("resnet18", {}, 64, lambda: _vision("resnet18")),
  "resnet18 stride 8": (
    "resnet18",
    {"output_stride": 8},
    64,
    lambda: _timm("resnet18", output_stride=8),
  ),
  "resnet32": ("resnet32", {}, 32, lambda: _cifar_resnet(5)),
  "resnet50": ("resnet50", {}, 65, lambda: _vision("resnet50")),
  "resnet50 stride 8": (
    "resnet50",
    {"output_stride": 8},
    64,
    lambda: _vision("resnet50", replace_stride_with_dilation=[False, True, True]),
  ),
  "resnet101 stride 16": (
    "resnet101",
    {"output_stride": 16},
    64,
    lambda: _vision("resnet101", replace_stride_with_dilation=[False, False, True]),
  ),
  "resnet110": ("resnet110", {}, 32, lambda: _cifar_resnet(18)),
  "resnext50": ("resnext50", {}, 64, lambda: _vision("resnext50_32x4d")),
  "vit_b16 timm": ("vit_b16", {}, 48, lambda: _timm("vit_base_patch16_224", img_size=48)),
  "vit_b16 torchvision": ("vit_b16", {}, 48, lambda: _vision("vit_b_16", image_size=48)),
  "beit_b16": (
    "beit_b16",
    {"image_size": (32, 64)},
    (32, 64),
    lambda: _timm("beit_base_patch16_224", img_size=(32, 64)),
  ),
  "mixer_b16": ("mixer_b16", {}, 48, lambda: _timm("mixer_b16_224", img_size=48)),
  # Maps of 14, 7, 4 and 2 patches a side, padded; the last smaller than its window.
  "swin_t timm": (
    "swin_t",
    {"window": 3},
    56,
    lambda: _timm("swin_tiny_patch4_window7_224", img_size=56, window_size=3),
  ),
  "swin_t torchvision": ("swin_t", {}, 224, lambda: _vision("swin_t")),
}


def _randomise(net):
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, value in net.state_dict().items():
      if not value.is_floating_point():
        continue
      if name.endswith("running_var"):
        value.uniform_(0.5, 2.0, generator=generator)
      elif value.ndim == 1 and name.endswith("weight"):
        value.uniform_(0.3, 1.2, generator=generator)
      elif value.ndim == 1 or "pos" in name or "token" in name:
        value.normal_(0, 0.3, generator=generator)
  return net.eval()


def _widen(value):
  """A table that timm cut to windows of 2x2 as the centre of one for 3x3."""
  if value.shape != (9, 24):
    return value
  table = torch.randn(5, 5, 24, generator=torch.Generator().manual_seed(1))
  table[1:4, 1:4] = value.reshape(3, 3, 24)
  return table.reshape(25, 24)


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_weights_are_equal(case, tmp_path):
  name, options, size, build = CASES[case]
  net = _randomise(build())
  path = tmp_path / "net.pth"
  state = {
    key: _widen(value) if "layers.3" in key else value for key, value in net.state_dict().items()
  }
  torch.save(state, path)
  size = (size, size) if isinstance(size, int) else size
  images = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
  with torch.no_grad():
    expected = net(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()).numpy()
  model = models.create(name, **options)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)
  variables = models.load_pretrained(name, path, shapes)
  ours = np.asarray(jax.jit(model.apply)(variables, images))
  assert np.std(expected) > 0.01
  error = np.abs(ours - expected).max() / np.std(expected)
  print(f"{case}: std {np.std(expected):.3f}, largest difference over it {error:.1e}")
  assert error < 1e-4
  if "torchvision" not in case:
    exported = models.to_torch(name, variables)
    theirs = {n: v.numpy() for n, v in state.items() if not n.endswith("tracked")}
    assert set(exported) == set(theirs)
    for key in theirs if name not in ("convnet4", "vgg16", "vgg19") else ():
      np.testing.assert_array_equal(exported[key], theirs[key])


def test_position_embeddings_are_resized_as_timm_does():
  value = np.random.default_rng(0).normal(size=(1, 50, 8)).astype(np.float32)
  theirs = timm.layers.resample_abs_pos_embed(torch.from_numpy(value), [5, 10])
  ours = resize_positions("pos_embed", value, (1, 51, 8), grid=(5, 10))
  np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
