"""Captions by the field's package, pycocoevalcap, which runs Java."""

from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from jaxmtl._extras import require
from jaxmtl.metrics.captions import check_captions

_NAMES = ("BLEU", "METEOR", "CIDEr", "SPICE")
_JAR = "stanford-corenlp-3.6.0.jar"


def coco_scores(
  captions: Sequence[str],
  references: Sequence[Sequence[str]],
  *,
  names: Sequence[str] = ("BLEU", "METEOR", "CIDEr"),
) -> dict[str, float]:
  """BLEU-1 to BLEU-4, METEOR, CIDEr and SPICE as papers report them, by `pycocoevalcap`.

  Captions are split by Stanford's tokenizer. `bleu` and `cider_d` need neither the package nor Java
  and agree with it where words do.

  Args:
    captions: one for each image.
    references: one or more for each image.
    names: which; "SPICE" needs a model of Stanford's, which the package does not bring along.

  Returns:
    The set's scores by name, "BLEU-1" to "BLEU-4" among them, CIDEr from 0 to 10, others from 0 to
    1.

  Raises:
    ImportError: without the extra `captions`.
    RuntimeError: without Java, or without SPICE's model.
    ValueError: as `bleu`, or if a name is not known.

  Reference: Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015.
  """
  check_captions(captions, references)
  if unknown := [name for name in names if name not in _NAMES]:
    raise ValueError(f"names must be among {', '.join(_NAMES)}, got {unknown[0]!r}.")
  split = _module("tokenizer.ptbtokenizer").PTBTokenizer
  if shutil.which("java") is None:
    raise RuntimeError(
      "metrics.coco_scores needs Java, and there is no command java: install a Java runtime, or "
      "use metrics.bleu and metrics.cider_d."
    )
  if "SPICE" in names:
    _check_spice()
  made = {i: [{"caption": text}] for i, text in enumerate(captions)}
  true = {i: [{"caption": text} for text in found] for i, found in enumerate(references)}
  with contextlib.redirect_stdout(io.StringIO()):  # the package prints
    made, true = split().tokenize(made), split().tokenize(true)
    # A Java that does not run leaves no words, without an error.
    if len(true) != len(references) or not any(word for found in true.values() for word in found):
      raise RuntimeError("Stanford's tokenizer gave no words: Java, which runs it, seems broken.")
    scores: dict[str, float] = {}
    for name in names:
      score, _ = _scorer(name).compute_score(true, made)
      if name == "BLEU":
        scores |= {f"BLEU-{n}": float(value) for n, value in enumerate(score, start=1)}
      else:
        scores[name] = float(score)
  return scores


def _scorer(name: str) -> Any:
  """The package's object for a measure."""
  if name == "BLEU":
    return _module("bleu.bleu").Bleu(4)
  if name == "CIDEr":
    return _module("cider.cider").Cider()
  if name == "METEOR":
    return _module("meteor.meteor").Meteor()
  return _module("spice.spice").Spice()


def _module(name: str) -> Any:
  return require(f"pycocoevalcap.{name}", "captions", "metrics.coco_scores")


def _check_spice() -> None:
  """Raises a RuntimeError if the package would download a model."""
  folder = pathlib.Path(_module("spice.spice").__file__).parent / "lib"
  if not (folder / _JAR).is_file():
    raise RuntimeError(
      f"SPICE needs {_JAR} and its models in {str(folder)!r}, hundreds of MB; to download them: "
      'python -c "from pycocoevalcap.spice.spice import Spice; Spice()"'
    )
