"""The thesis' tables 3.1, 3.4 and 3.5: ResNet-50, 200 epochs, two seeds, on the validation split.

And the DGR paper's tables 2 and 3 with DGR (three seeds, without noise), and its table 4, b and c:
a Swin trunk of a size that is not said, and PASCAL's five tasks.

Of NYUv2 (795 and 654 images, 288x384) and Cityscapes (2975 and 500, 256x512); which epoch they are
of is not said. Auxiliary learning has the noise task besides.
"""

from __future__ import annotations

NYUV2, CITYSCAPES, PASCAL = "nyuv2", "cityscapes", "pascal_context"
RESNET50, RESNET18, SWIN = "resnet50", "resnet18", "swin"
# Task, metric, and what the printed number is multiplied by: errors are printed in hundredths.
_COLUMNS = {
  NYUV2: (
    ("segmentation", "miou", 1.0),
    ("depth", "absolute_error", 0.01),
    ("normal", "angle", 1.0),
  ),
  CITYSCAPES: (
    ("segmentation", "miou", 1.0),
    ("part", "miou", 1.0),
    ("disparity", "absolute_error", 0.01),
  ),
  PASCAL: (
    *(("segmentation", "miou", 1.0), ("part", "miou", 1.0), ("normal", "angle", 1.0)),
    *(("saliency", "saliency_iou", 1.0), ("edge", "ods_f", 1.0)),
  ),
}
_SINGLE = {NYUV2: (43.37, 52.24, 22.40), CITYSCAPES: (56.20, 52.74, 0.84)}
# By data set and architecture, and method: the tasks' figures, and Delta_MTL.
_MULTI_TASK = {
  (NYUV2, "hps"): {
    "equal": (44.64, 43.32, 24.48, 3.57),
    "dwa": (45.14, 43.06, 24.17, 4.58),
    "uncertainty": (45.98, 41.26, 24.09, 6.50),
    "auto_lambda": (47.17, 40.97, 23.68, 8.21),
  },
  (NYUV2, "mtan"): {
    "equal": (44.62, 42.64, 24.29, 4.27),
    "dwa": (45.04, 42.81, 24.02, 4.89),
    "uncertainty": (46.41, 40.94, 23.65, 7.69),
    "auto_lambda": (47.63, 40.37, 23.28, 9.54),
  },
  (CITYSCAPES, "hps"): {
    "equal": (54.03, 50.18, 0.79, -0.92),
    "dwa": (54.93, 50.15, 0.80, -0.80),
    "uncertainty": (56.06, 52.98, 0.82, 0.86),
    "auto_lambda": (56.08, 51.88, 0.76, 2.56),
  },
  (CITYSCAPES, "mtan"): {
    "equal": (55.05, 50.74, 0.78, 0.43),
    "dwa": (54.71, 51.07, 0.80, -0.35),
    "uncertainty": (56.28, 53.24, 0.82, 1.16),
    "auto_lambda": (56.57, 52.67, 0.75, 3.75),
  },
}
# With the noise task: uncertainty, and Auto-lambda for all tasks but noise.
_WITH_NOISE = {
  (NYUV2, "hps"): {
    "uncertainty": (45.26, 42.25, 24.36, 4.91),
    "auto_lambda": (48.04, 40.61, 23.31, 9.66),
  },
  (NYUV2, "mtan"): {
    "uncertainty": (44.56, 42.21, 24.26, 4.55),
    "auto_lambda": (47.35, 40.10, 23.41, 9.30),
  },
  (CITYSCAPES, "hps"): {
    "uncertainty": (55.72, 52.62, 0.83, 0.04),
    "auto_lambda": (56.42, 52.42, 0.78, 2.31),
  },
  (CITYSCAPES, "mtan"): {
    "uncertainty": (56.13, 52.78, 0.83, 0.38),
    "auto_lambda": (57.64, 52.77, 0.78, 3.25),
  },
}
# With noise, each figure of a run in which its task alone is primary.
_AUXILIARY = {
  (NYUV2, "hps"): {"gcs": (45.01, 42.06, 24.12), "auto_lambda": (47.80, 40.27, 23.09)},
  (NYUV2, "mtan"): {"gcs": (44.28, 44.07, 24.03), "auto_lambda": (47.70, 39.89, 22.75)},
  (CITYSCAPES, "hps"): {"gcs": (55.76, 52.19, 0.80), "auto_lambda": (57.89, 53.56, 0.77)},
  (CITYSCAPES, "mtan"): {"gcs": (55.47, 52.75, 0.76), "auto_lambda": (58.39, 54.00, 0.78)},
}
# Table 3.5, Delta_MTL of NYUv2's three tasks by Split: weightings with aggregators.
_COMBINED = {
  "graddrop": {"equal": 4.65, "dwa": 5.93, "uncertainty": 6.22, "auto_lambda": 8.12},
  "pcgrad": {"equal": 5.09, "dwa": 4.37, "uncertainty": 6.20, "auto_lambda": 8.50},
  "cagrad": {"equal": 7.05, "dwa": 8.08, "uncertainty": 9.65, "auto_lambda": 11.07},
}
# Table 3.4, Delta_MTL of NYUv2's three tasks with noise by Split: Auto-lambda with other values.
_ABLATED = {
  "init 0.01": 8.98,
  "init 1": 1.42,
  "learning rate 3e-05": 8.53,
  "learning rate 0.0003": 8.56,
  "learning rate 0.001": 5.04,
  "no swapping": 8.17,
}
# The DGR paper's by data set, architecture and trunk. It does not say the trunk of PASCAL's,
# whose rows seem to be those of Vandenhende et al.'s survey, 2021, with ResNet-18.
_DGR: dict[tuple[str, str, str], dict[str, tuple[float, ...]]] = {
  (PASCAL, "hps", RESNET18): {
    "equal": (63.8, 58.6, 14.9, 65.1, 69.2, -2.86),
    "equal+dgr": (64.2, 58.7, 14.8, 65.2, 69.5, -2.42),
  },
  (PASCAL, "mtan", RESNET18): {
    "equal": (63.7, 58.9, 14.8, 65.4, 69.6, -2.39),
    "equal+dgr": (63.8, 59.0, 14.7, 65.5, 69.6, -2.19),
  },
  (NYUV2, "hps", SWIN): {
    "single task": (53.81, 38.87, 22.03),
    "equal": (54.87, 35.09, 23.12, 6.74),
    "equal+dgr": (54.98, 34.98, 22.78, 8.77),
  },
  (CITYSCAPES, "hps", SWIN): {
    "single task": (56.08, 53.33, 0.74),
    "equal": (56.02, 54.18, 0.69, 2.79),
    "equal+dgr": (57.13, 54.37, 0.68, 3.98),
  },
  (NYUV2, "hps", RESNET50): {
    "equal+dgr": (47.11, 40.11, 23.98, 8.26),
    "dwa+dgr": (46.43, 41.08, 24.18, 6.82),
    "uncertainty+dgr": (46.52, 40.80, 24.34, 6.83),
    "auto_lambda+dgr": (48.04, 39.45, 23.60, 9.96),
    "pcgrad+dgr": (46.71, 41.20, 24.03, 7.19),
    "cagrad+dgr": (47.48, 39.81, 23.28, 9.78),
    "imtl_l+imtl_g+dgr": (49.62, 37.70, 22.37, 14.13),
    "nash_mtl+dgr": (48.25, 39.53, 22.54, 11.65),
  },
  (NYUV2, "mtan", RESNET50): {
    "equal+dgr": (46.24, 39.98, 24.04, 7.51),
    "dwa+dgr": (46.81, 41.37, 24.10, 7.24),
    "uncertainty+dgr": (46.23, 40.00, 23.89, 7.28),
    "auto_lambda+dgr": (48.19, 39.03, 23.32, 10.50),
    "pcgrad+dgr": (46.86, 39.73, 23.95, 7.42),
    "cagrad+dgr": (48.49, 38.94, 22.98, 11.56),
    "imtl_l+imtl_g+dgr": (50.04, 38.18, 22.39, 14.42),
    "nash_mtl+dgr": (48.38, 39.59, 22.66, 11.75),
  },
  (CITYSCAPES, "hps", RESNET50): {
    "equal+dgr": (56.27, 52.45, 0.74, 3.83),
    "dwa+dgr": (55.84, 52.39, 0.72, 4.33),
    "uncertainty+dgr": (56.76, 55.46, 0.78, 4.43),
    "auto_lambda+dgr": (57.22, 53.55, 0.71, 6.28),
    "pcgrad+dgr": (56.04, 52.53, 0.72, 4.53),
    "cagrad+dgr": (57.05, 55.16, 0.71, 7.19),
    "imtl_l+imtl_g+dgr": (58.46, 55.33, 0.75, 6.55),
    "nash_mtl+dgr": (57.78, 55.04, 0.74, 6.36),
  },
  (CITYSCAPES, "mtan", RESNET50): {
    "equal+dgr": (57.13, 51.88, 0.73, 4.37),
    "dwa+dgr": (55.65, 52.54, 0.72, 4.31),
    "uncertainty+dgr": (56.59, 55.10, 0.75, 5.29),
    "auto_lambda+dgr": (56.76, 53.29, 0.69, 6.63),
    "pcgrad+dgr": (56.61, 52.75, 0.72, 5.01),
    "cagrad+dgr": (56.66, 56.07, 0.72, 7.14),
    "imtl_l+imtl_g+dgr": (58.12, 55.73, 0.75, 6.60),
    "nash_mtl+dgr": (57.77, 55.60, 0.74, 6.71),
  },
}
Published = dict[str, dict[str, float]]


def published(
  dataset: str,
  architecture: str,
  noise: bool,
  primary: str | None,
  name: str,
  backbone: str = RESNET50,
) -> Published | None:
  """The thesis' figures of a row, or the DGR paper's.

  Args:
    dataset: nyuv2, cityscapes, pascal_context, or any other, of which there are none.
    architecture: hps or mtan.
    noise: whether the noise task is learned too.
    primary: the task that alone is primary; None in multi-task learning.
    name: of the method, or "single task".
    backbone: by its name.

  Returns:
    Figures by metric and task; `delta_mtl` of `all`. None where neither has any.
  """
  trunk = SWIN if backbone.startswith(SWIN) else backbone
  rows = _DGR.get((dataset, architecture, trunk), {})
  if name in rows and primary is None and not noise:
    return _with_delta(dataset, rows[name])
  key = dataset, architecture
  if key not in _MULTI_TASK or backbone != RESNET50:
    return None
  if primary is not None:
    found = _AUXILIARY[key].get(name) if noise else None
    return None if found is None else _figures(dataset, found, primary)
  if name == "single task":
    return _figures(dataset, _SINGLE[dataset])
  row = (_WITH_NOISE if noise else _MULTI_TASK)[key].get(name)
  if row is not None:
    return _with_delta(dataset, row)
  if key != (NYUV2, "hps"):
    return None
  weighting, _, aggregator = name.rpartition("+")
  delta = _COMBINED.get(aggregator.partition(":")[0], {}).get(weighting or "equal")
  if noise:
    delta = _ABLATED.get(name.removeprefix("auto_lambda, ")) if "auto_lambda, " in name else None
  return None if delta is None else {"delta_mtl": {"all": delta}}


def _with_delta(dataset: str, row: tuple[float, ...]) -> Published:
  """A row whose last figure, where there is one more than tasks, is Delta_MTL."""
  tasks = len(_COLUMNS[dataset])
  delta: Published = {"delta_mtl": {"all": row[tasks]}} if len(row) > tasks else {}
  return _figures(dataset, row[:tasks]) | delta


def _figures(dataset: str, row: tuple[float, ...], only: str | None = None) -> Published:
  found: Published = {}
  for (task, metric, factor), value in zip(_COLUMNS[dataset], row, strict=True):
    if only in (None, task):
      found.setdefault(metric, {})[task] = round(value * factor, 6)
  return found
