"""Sentences about scenes of digits by rules: captions, and questions with their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmtl.data.scene_drawing import COLORS, Digit, Scene

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_APART = 0.1  # of the image's side, from which one is left of another
_LARGE, _SMALL = 0.5, 0.4  # of the image's side


class Question(NamedTuple):
  """A question about an image.

  Attributes:
    image: number of the image.
    question: with its mark.
    answer: the only right one.
    kind: what it asks for: count, color, digit, place, order, existence, comparison.
  """

  image: int
  question: str
  answer: str
  kind: str


def captions(rng: np.random.Generator, scene: Scene) -> tuple[str, ...]:
  """Five captions: numbers and colours, places, what is in front, sizes, digits alone.

  Args:
    rng: for the choice of what is compared.
    scene: what is told.
  """
  side = len(scene.rgb)
  ordered = sorted(scene.digits, key=lambda d: (d.column, d.row))
  named = [_named(d) for d in ordered]
  count = len(ordered)
  digits = "digit" if count == 1 else "digits"
  grouped = Counter(d.digit for d in ordered)
  plain = [
    f"{_article(digit)} {digit}" if many == 1 else f"{_NUMBERS[many]} {digit}s"
    for digit, many in grouped.items()
  ]
  sizes = [_named(d, _size(d, side)) for d in ordered]
  return (
    f"{_NUMBERS[count]} {digits}, {_listed(named)}",
    _place(rng, ordered, side),
    _order(rng, scene, named),
    _listed(sizes),
    _listed(plain),
  )


def questions(rng: np.random.Generator, scene: Scene, image: int, most: int) -> list[Question]:
  """Questions of different kinds about a scene, each with one right answer.

  Args:
    rng: for the choice.
    scene: what is asked about.
    image: its number.
    most: at most so many.
  """
  digits, side = scene.digits, len(scene.rgb)
  found = {"count": ("how many digits are there?", str(len(digits)))}
  one = digits[rng.integers(len(digits))]
  times = Counter(d.digit for d in digits)
  if times[one.digit] == 1:
    found["color"] = (f"what color is the {one.digit}?", one.color)
  found["digit"] = (f"which digit is {one.color}?", str(one.digit))
  found["existence"] = _existence(rng, digits)
  ordered = sorted(digits, key=lambda d: d.column)
  word = "left" if rng.random() < 0.5 else "right"
  first, second = (ordered[0], ordered[min(1, len(ordered) - 1)])
  if word == "right":
    first, second = ordered[-1], ordered[max(-2, -len(ordered))]
  if abs(first.column - second.column) >= _APART * side:
    found["place"] = (f"which digit is on the {word}?", str(first.digit))
    a, b = (first, second) if rng.random() < 0.5 else (second, first)
    answer = "yes" if (a is first) == (word == "left") else "no"
    found["comparison"] = (f"is {_named(a, 'the')} left of {_named(b, 'the')}?", answer)
  hidden = Counter(far for _, far in scene.covers)
  clear = [(near, far) for near, far in scene.covers if hidden[far] == 1]
  if clear:
    near, far = clear[rng.integers(len(clear))]
    question = f"which digit is in front of {_named(digits[far], 'the')}?"
    found["order"] = (question, str(digits[near].digit))
  kinds = [list(found)[i] for i in rng.permutation(len(found))[:most]]
  return [Question(image, *found[kind], kind) for kind in kinds]


def _existence(rng: np.random.Generator, digits: Sequence[Digit]) -> tuple[str, str]:
  """As often yes as no; of a digit, or of a colour."""
  asked_color, there = rng.random() < 0.5, rng.random() < 0.5
  seen = [d.color if asked_color else str(d.digit) for d in digits]
  everything = list(COLORS) if asked_color else [str(i) for i in range(10)]
  candidates = seen if there else [x for x in everything if x not in seen]
  one = candidates[rng.integers(len(candidates))]
  thing = f"a {one} digit" if asked_color else f"{_article(one)} {one}"
  return f"is there {thing}?", "yes" if there else "no"


def _place(rng: np.random.Generator, ordered: Sequence[Digit], side: int) -> str:
  """Where a digit is, or how two of them lie to each other."""
  if len(ordered) == 1:
    third = int(ordered[0].column * 3 // side)
    return f"{_named(ordered[0])} {('on the left', 'in the middle', 'on the right')[third]}"
  first, second = (ordered[i] for i in sorted(rng.permutation(len(ordered))[:2]))
  if second.column - first.column < _APART * side:
    first, second = sorted((first, second), key=lambda d: d.row)
    way, back = "above", "below"
  else:
    way, back = "left of", "right of"
  if rng.random() < 0.5:
    return f"{_named(first)} {way} {_named(second)}"
  return f"{_named(second)} {back} {_named(first)}"


def _order(rng: np.random.Generator, scene: Scene, named: Sequence[str]) -> str:
  """What covers what; where nothing does, a list."""
  if not scene.covers:
    return _listed(named)
  near, far = (scene.digits[i] for i in scene.covers[rng.integers(len(scene.covers))])
  if rng.random() < 0.5:
    return f"{_named(near)} in front of {_named(far)}"
  return f"{_named(far)} behind {_named(near)}"


def _size(digit: Digit, side: int) -> str:
  if digit.side >= _LARGE * side:
    return "a large"
  return "a small" if digit.side <= _SMALL * side else "a"


def _named(digit: Digit, before: str = "a") -> str:
  """A digit by its colour, behind an article, perhaps with a size."""
  return f"{before} {digit.color} {digit.digit}"


def _listed(words: Sequence[str]) -> str:
  return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _article(digit: int | str) -> str:
  return "an" if str(digit) == "8" else "a"
