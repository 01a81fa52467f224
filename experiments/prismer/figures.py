"""Figures of Prismer's trainings: curves, what networks say, where they look, ablations."""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import matplotlib as mpl
import matplotlib.figure
import numpy as np

from experiments.prismer.asked import Texts
from experiments.prismer.config import SCENES, Config
from experiments.prismer.jobs import Key, Planned
from experiments.prismer.material import Material, some_images
from experiments.prismer.problem import inputs
from experiments.prismer.report import MAIN
from experiments.prismer.variants import FULL, PLAIN
from experiments.runner.job import Outcome
from experiments.runner.mesh import is_main
from jaxmtl import plots
from jaxmtl.data.experts import KINDS
from jaxmtl.models import prismer

Found = Mapping[Key, tuple[Outcome, Texts | None]]
_SHOWN, _QUESTIONS, _LATENTS = 4, 2, 6
_RIGHT, _WRONG = "tab:green", "tab:red"


def draw(
  config: Config,
  material: Material,
  planned: Mapping[Key, Planned],
  found: Found,
  folder: pathlib.Path,
) -> dict[str, matplotlib.figure.Figure]:
  """Writes the figures of what there is so far.

  Args:
    config: the options.
    material: the data.
    planned: the trainings.
    found: outcome and texts by method and variant.
    folder: where they go.

  Returns:
    The figures by the names of their files.
  """
  done = {key: pair for key, pair in found.items() if not pair[0].failure}
  if not is_main() or not done:
    return {}
  drawn = {}
  usual = {key: pair for key, pair in done.items() if key[1] in config.variants}
  if "validation" in material.parts and usual:
    drawn["curves.png"] = curves(config, usual, folder / "curves.png")
  if material.tests and usual:
    drawn["pictures.png"] = pictures(config, material, usual, folder / "pictures.png")
  with_experts = [key for key in usual if planned[key].variant.experts]
  if with_experts and material.tests:
    key = with_experts[-1]
    target = folder / "attention.png"
    drawn["attention.png"] = attention(config, material, planned[key], done[key][0], target)
  for ablation in config.ablations:
    here = {k: p for k, p in done.items() if k[1] in config.of_ablation(ablation)}
    if here:
      name = f"ablation_{ablation}.png"
      drawn[name] = bars(config, ablation, here, folder / name)
  return drawn


def curves(config: Config, found: Found, path: pathlib.Path) -> matplotlib.figure.Figure:
  """Loss of the validation part by epoch, a panel a task."""
  names = _names(config, found)
  values: dict[str, dict[str, Any]] = {}
  epochs: dict[str, dict[str, Any]] = {}
  for task in config.data.tasks:
    of_task = {names[key]: outcome for key, (outcome, _) in found.items()}
    values[task] = {n: outcome.curve("validation", "loss", task) for n, outcome in of_task.items()}
    epochs[task] = {n: o.epochs_of("validation", "loss") for n, o in of_task.items()}
  return plots.plot_panels(
    path,
    values,
    xlabel="epoch",
    ylabel="loss (nats a piece)",
    title="Validation images: loss of the next piece of a word",
    epochs=epochs,
    colors=plots.palette(list(names.values())),
  )


def pictures(
  config: Config, material: Material, found: Found, path: pathlib.Path
) -> matplotlib.figure.Figure:
  """Test images, what experts say of them, and what networks say: the first seed."""
  first = next(iter(material.tests.values()))
  everything = int(first.rows.max()) + 1
  rows = np.unique(np.linspace(0, everything - 1, _SHOWN).round().astype(int))
  images = some_images(material.images, rows)
  names = [name for name in material.experts if name in images]
  texts = [_said(config, material, found, int(row)) for row in rows]
  most = max(len(lines) for lines in texts)
  side = 1.15
  height = max(side + 0.1, 0.14 * most + 0.2)
  figure = matplotlib.figure.Figure(
    figsize=(side * (1 + len(names)) + 5.2, height * len(rows) + 0.6), layout="constrained"
  )
  grid = figure.subplots(
    len(rows), 2 + len(names), squeeze=False, width_ratios=[*[side] * (1 + len(names)), 5.2]
  )
  for i, lines in enumerate(texts):
    shown = {"image": images["rgb"][i], **{n: _colours(n, images[n][i]) for n in names}}
    size = images["size"][i] if "size" in images else images["rgb"].shape[1:3]
    for axes, (name, picture) in zip(grid[i], shown.items(), strict=False):
      axes.imshow(picture[: size[0], : size[1]], interpolation="nearest")
      axes.set(xticks=[], yticks=[])
      if i == 0:
        axes.set_title(name.replace("_", "\n"), fontsize=8)
    axes = grid[i, -1]
    axes.axis("off")
    for line, (text, color) in enumerate(lines):
      axes.text(
        0.01,
        1 - (line + 0.5) / most,
        text,
        color=color,
        fontsize=7.5,
        va="center",
        family="monospace",
        transform=axes.transAxes,
      )
  notes = ["depth: near is bright", "colours of labels: classes or objects"] if names else []
  if config.data.tasks != ("caption",) or config.data.dataset == SCENES:
    notes.insert(0, "green: right, red: wrong")
  title = f"Test images: what the first seed (of {config.run.seeds}) says"
  return plots.finish(figure, path, title, notes)


def _said(config: Config, material: Material, found: Found, row: int) -> list[tuple[str, str]]:
  """Lines about an image, with their colours."""
  names = _names(config, found)
  wide = max(len(name) for name in (*names.values(), "truth"))
  lines: list[tuple[str, str]] = []

  def add(who: str, text: str, color: str) -> None:
    # An untrained network says what no font has.
    seen = "".join(c if c.isprintable() and c != "\ufffd" else "?" for c in text)
    lines.append((f"{who:{wide}}  {textwrap.shorten(seen, 74 - wide, placeholder='...')}", color))

  for task, test in material.tests.items():
    places = [
      int(i) for i in np.flatnonzero(test.rows == row)[: _QUESTIONS if test.questions else 1]
    ]
    for place in places:
      truth = test.references[place] if test.references else ()
      if test.questions:
        lines.append((test.questions[place], "black"))
      for text in dict.fromkeys(truth[:2] if task == "caption" else truth[:1]):
        add("truth", text, "0.35")
      for key, (_, texts) in found.items():
        if texts is None:
          continue
        made = texts.said[task][0][place]
        color = "black"  # a caption of a photograph may be right in many words
        if truth and (task != "caption" or config.data.dataset == SCENES):
          color = _RIGHT if _plain(made) in map(_plain, truth) else _WRONG
        add(names[key], made, color)
  return lines


def _plain(text: str) -> str:
  return text.lower().strip(" .")


def _colours(name: str, label: np.ndarray) -> np.ndarray:
  """A label as a picture."""
  if not KINDS[name].numbers:
    return np.repeat(label, 3, axis=-1) if label.shape[-1] == 1 else label
  palette = mpl.colormaps["tab20"](range(20), bytes=True)[:, :3]
  found = palette[label[..., 0] % len(palette)]
  return np.where(label == 255, np.uint8(255), found)


def attention(
  config: Config, material: Material, planned: Planned, outcome: Outcome, path: pathlib.Path
) -> matplotlib.figure.Figure:
  """Where latents of the resampler look: the last block, the mean of its heads, one image."""
  images = some_images(planned.images, [0])
  variables = jax.tree.map(lambda leaf: leaf[0], outcome.variables)
  model, side = planned.what.model, config.network.image_size

  @jax.jit
  def look(variables: Any, images: Any) -> Any:
    return prismer.expert_attention(model, variables, inputs(images, material.tables, side))

  looked = look(variables, images)  # in the order of names, as a compiled function gives it
  order = (*planned.variant.experts, *planned.variant.noises)
  seen = {name: np.asarray(looked[name][0, -1].mean(0)) for name in order if name in looked}
  latents = next(iter(seen.values())).shape[0]
  # Those that differ most from the others: by how much of their attention goes to which expert.
  shown = _apart(seen, min(_LATENTS, latents))
  top = max(float(weights[shown].max()) for weights in seen.values())
  side_inches = 1.1
  figure = matplotlib.figure.Figure(
    figsize=(side_inches * (len(shown) + 1) + 1.3, side_inches * len(seen) + 1.5),
    layout="constrained",
  )
  grid = figure.subplots(len(seen), len(shown) + 1, squeeze=False)
  for line, (name, weights) in zip(grid, seen.items(), strict=True):
    if name in images:
      line[0].imshow(_colours(name, images[name][0]), interpolation="nearest")
    line[0].set_ylabel(name.replace("_", "\n"), fontsize=8)
    for axes, latent in zip(line[1:], shown, strict=True):
      picture = axes.imshow(weights[latent], vmin=0, vmax=top, cmap="magma")
      axes.set_xlabel(f"{100 * weights[latent].sum():.0f} %", fontsize=7, labelpad=2)
  for axes in grid.ravel():
    axes.set(xticks=[], yticks=[])
  grid[0, 0].set_title("label", fontsize=8)
  for axes, latent in zip(grid[0, 1:], shown, strict=True):
    axes.set_title(f"latent {latent + 1}", fontsize=8)
  bar = figure.colorbar(picture, ax=grid[:, -1].tolist(), fraction=0.08)
  bar.set_label("attention to a token", fontsize=7)
  bar.ax.tick_params(labelsize=6)
  notes = [
    "below each map: share of the latent's attention to this expert",
    "what is missing to 100 % goes to the latents themselves",
    f"{len(shown)} of {latents} latents, those most unlike each other",
  ]
  title = f"{planned.variant.name}: where latents of the resampler look (last block, mean of heads)"
  return plots.finish(figure, path, title, notes)


def _apart(seen: Mapping[str, np.ndarray], count: int) -> list[int]:
  """Latents that are far from each other, one after the other the farthest from those before."""
  whole = np.concatenate([w.reshape(len(w), -1) for w in seen.values()], axis=1)
  chosen = [int(whole.sum(1).argmax())]
  while len(chosen) < count:
    distances = np.abs(whole[:, None] - whole[chosen]).sum(-1).min(1)
    chosen.append(int(distances.argmax()))
  return chosen


def bars(
  config: Config, ablation: str, found: Found, path: pathlib.Path
) -> matplotlib.figure.Figure:
  """The main figure of each task, a panel each: a point a seed and a bar for the mean."""
  order = config.of_ablation(ablation)
  keys = sorted(found, key=lambda key: (key[0], order.index(key[1])))
  names, tasks = _names(config, keys), config.data.tasks
  figure = matplotlib.figure.Figure(
    figsize=(3.2 * len(tasks) + 1.6, max(2.4, 0.32 * len(keys) + 1.3)), layout="constrained"
  )
  grid = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
  for axes, task in zip(grid, tasks, strict=True):
    lowest = float("inf")
    for row, key in enumerate(keys):
      values = _values(found[key][1], task)
      color = {PLAIN: "0.6", FULL: "tab:purple"}.get(key[1], "tab:blue")
      if values.size:
        axes.barh(row, values.mean(), color=color, alpha=0.5)
        axes.plot(values, np.full(len(values), row), "o", color=color, markersize=4)
        lowest = min(lowest, float(values.min()))
    left = 0.8 * lowest if np.isfinite(lowest) else 0.0
    axes.set_xlim(left=left)
    unit = "" if MAIN[task] == "CIDEr-D" else " (%)"
    cut = "\n(the axis does not start at 0)" if left else ""
    axes.set_xlabel(f"{task}: {MAIN[task]}{unit}{cut}", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
  grid[0].set_yticks(range(len(keys)), [_short(name) for name in names.values()], fontsize=7)
  grid[0].invert_yaxis()
  notes = ["bars: means of seeds", "points: seeds", f"grey: {PLAIN}", f"purple: {FULL} as it is"]
  return plots.finish(figure, path, f"Ablation of {ablation}: test images", notes)


def _values(texts: Texts | None, task: str) -> np.ndarray:
  return np.array([] if texts is None else texts.scores.get(MAIN[task], {}).get(task, []))


def _short(name: str) -> str:
  """Options under the network's name."""
  return name.replace(":", ":\n") if len(name) > 24 else name


def _names(config: Config, keys: Sequence[Key] | Mapping[Key, Any]) -> dict[Key, str]:
  several = len(config.methods) > 1
  return {key: f"{key[0]} {key[1]}" if several else key[1] for key in keys}
