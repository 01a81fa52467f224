"""The published figures: test accuracies on UTKFace, with and without DGR."""

from __future__ import annotations

from experiments.runner.report import SINGLE

# Table 1: test accuracies of age, gender and ethnicity in per cent, and Delta_MTL.
_TASKS = ("age", "gender", "ethnicity")
_FIGURES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
  "equal": ((53.91, 91.53, 79.48, 2.66), (56.05, 90.19, 79.42, 3.50)),
  "dwa": ((53.70, 91.48, 79.89, 2.68), (53.36, 91.35, 80.56, 2.71)),
  "uncertainty": ((53.85, 91.37, 79.61, 2.62), (54.55, 91.18, 79.88, 3.11)),
  "auto_lambda": ((54.05, 91.71, 79.65, 2.89), (55.03, 91.63, 80.14, 3.69)),
  "pcgrad": ((54.17, 91.34, 79.60, 2.80), (54.31, 89.99, 79.86, 2.50)),
  "cagrad": ((53.90, 92.39, 79.94, 3.17), (55.10, 91.69, 80.94, 4.11)),
  "imtl_l+imtl_g": ((52.50, 91.73, 80.39, 2.23), (54.30, 90.20, 80.51, 2.86)),
  "nash_mtl": ((54.85, 91.72, 80.21, 3.64), (55.45, 90.63, 80.55, 3.77)),
}
_BY_NAME: dict[str, tuple[float, ...]] = {SINGLE: (52.33, 89.64, 77.28, 0.0)}
for _name, (_alone, _with) in _FIGURES.items():
  _BY_NAME |= {_name: _alone, f"{_name}+dgr": _with}

PAPER: dict[str, dict[str, dict[str, float]]] = {
  name: {
    "accuracy": dict(zip(_TASKS, figures[:3], strict=True)),
    "delta_mtl": {"all": figures[3]},
  }
  for name, figures in _BY_NAME.items()
}
