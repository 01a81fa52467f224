"""What trained networks say of the test part, and how right it is; kept beside their weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from experiments.prismer.config import Config
from experiments.prismer.jobs import Planned
from experiments.prismer.material import Material, some_images
from experiments.prismer.sets import Test
from experiments.prismer.speaking import Speaker, batches
from experiments.runner import store
from experiments.runner.job import WEIGHTS, Outcome
from experiments.runner.mesh import is_main, say
from jaxmtl import metrics
from jaxmtl.data import language

VALUES = "texts.json"
_BATCH = 50
_PEOPLE = 4  # fewest answers to a question for VQA's accuracy
Said = dict[str, list[list[str]]]
"""By task, texts of each seed."""


@dataclasses.dataclass(frozen=True)
class Texts:
  """What a training's networks say."""

  said: Said
  scores: dict[str, dict[str, list[float]]]
  """By metric and task, of each seed."""
  kinds: dict[str, list[float]]
  """Accuracy in per cent by what a question asks for, of each seed."""


def ask(config: Config, material: Material, planned: Planned, outcome: Outcome) -> Texts:
  """Texts of all seeds for the test part, from disk where they were made before.

  Args:
    config: the options.
    material: the data.
    planned: the training.
    outcome: what it gave.
  """
  asked = _identity(config, material)
  path = outcome.folder / VALUES
  saved = store.read_json(path)
  fresh = path.exists() and path.stat().st_mtime_ns >= (outcome.folder / WEIGHTS).stat().st_mtime_ns
  if saved is None or not fresh or saved["asked"] != store.plain(asked):
    say(f"{outcome.name}: reading its texts of the test part")
    said = _said(config, material, planned, outcome)
    saved = {"asked": asked, "said": said, **score(material.tests, said)}
    saved = store.plain(saved)
    if is_main():
      store.write_json(path, saved)
      _write_results(material, outcome, said)
  return Texts(saved["said"], saved["scores"], saved["kinds"])


def _identity(config: Config, material: Material) -> dict[str, Any]:
  return {
    "text": dataclasses.asdict(config.text),
    "tests": {task: len(test.rows) for task, test in material.tests.items()},
  }


def speaker(config: Config, material: Material, planned: Planned) -> Speaker:
  """The network of a training with what its texts need."""
  model = planned.what.model
  return Speaker(model, material.tokenizer, material.tables, config.text, material.question_length)


def _said(config: Config, material: Material, planned: Planned, outcome: Outcome) -> Said:
  one = speaker(config, material, planned)
  variables, size = outcome.variables, config.training.batch_size
  found: Said = {task: [] for task in material.tests}
  for seed in range(len(config.run.all_seeds)):
    # Once on the device, not again with each batch.
    own = jax.device_put(jax.tree.map(lambda leaf, s=seed: leaf[s], variables))
    for task, test in material.tests.items():
      texts: list[str] = []
      for rows, count in batches(np.arange(len(test.rows)), min(_BATCH, size)):
        images = some_images(planned.images, test.rows[rows])
        texts += _texts(config, material, one, own, task, test, images, rows)[:count]
      found[task].append(texts)
  return found


def _texts(
  config: Config,
  material: Material,
  one: Speaker,
  variables: Any,
  task: str,
  test: Test,
  images: Mapping[str, Any],
  rows: np.ndarray,
) -> list[str]:
  if task == "caption":
    return one.captions(variables, images)
  listed = material.candidates.get(task, ())
  if task == "classify":
    return one.classes(variables, images, listed)
  asked = [test.questions[i] for i in rows]
  return one.answers(variables, images, asked, listed if config.text.answers == "rank" else ())


def score(tests: Mapping[str, Test], said: Mapping[str, list[list[str]]]) -> dict[str, Any]:
  """How right texts are, by seed, in per cent (CIDEr-D times 100).

  Args:
    tests: by task.
    said: texts of each seed by task.

  Returns:
    `scores` by metric and task, and `kinds`, accuracy by kind of question.
  """
  found: dict[str, dict[str, list[float]]] = {}
  kinds: dict[str, list[float]] = {}
  for task, test in tests.items():
    if not test.references:
      continue
    for texts in said[task]:
      for metric, value in _MEASURES[task](texts, test).items():
        found.setdefault(metric, {}).setdefault(task, []).append(100 * value)
      if test.kinds:
        right = np.array([_right(t, r) for t, r in zip(texts, test.references, strict=True)])
        for kind in dict.fromkeys(test.kinds):
          at = np.array(test.kinds) == kind
          kinds.setdefault(kind, []).append(100 * float(right[at].mean()))
  return {"scores": found, "kinds": kinds}


def _of_captions(texts: list[str], test: Test) -> dict[str, float]:
  exact = [
    _plain(text) in map(_plain, own) for text, own in zip(texts, test.references, strict=True)
  ]
  found = {"BLEU-4": float(metrics.bleu(texts, test.references)[3])}
  if len(texts) > 1:  # it rates words by how rare they are among images
    found["CIDEr-D"] = float(metrics.cider_d(texts, test.references).mean())
  return {**found, "exact match": float(np.mean(exact))}


def _of_answers(texts: list[str], test: Test) -> dict[str, float]:
  if min(map(len, test.references)) >= _PEOPLE:
    return {"accuracy": float(metrics.vqa_accuracy(texts, test.references).mean())}
  return _exact(texts, test)


def _exact(texts: list[str], test: Test) -> dict[str, float]:
  right = [_right(text, own) for text, own in zip(texts, test.references, strict=True)]
  return {"accuracy": float(np.mean(right))}


def _right(text: str, references: tuple[str, ...]) -> bool:
  return metrics.normalize_answer(text) in map(metrics.normalize_answer, references)


def _plain(text: str) -> str:
  return language.clean_caption(text, None).lower()


_MEASURES: dict[str, Callable[[list[str], Test], dict[str, float]]] = {
  "caption": _of_captions,
  "vqa": _of_answers,
  "classify": _exact,
}


def _write_results(material: Material, outcome: Outcome, said: Said) -> None:
  """Texts of the first seed in the servers' form."""
  for task, write in (("caption", language.write_captions), ("vqa", language.write_answers)):
    if task in material.tests:
      ids: Any = material.tests[task].ids
      write(outcome.folder / f"{task}_results.json", ids, said[task][0])
