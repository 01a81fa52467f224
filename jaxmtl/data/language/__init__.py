"""Language: a tokenizer, texts as batches, and data sets of captions, questions and classes."""

from jaxmtl.data.language.caption_prompts import (
  CAPTION_PREFIX,
  CLASS_PREFIX,
  caption_texts,
  captions,
  class_answers,
  class_captions,
)
from jaxmtl.data.language.cleaning import clean_caption, clean_question
from jaxmtl.data.language.prompts import Prompts, Targets, prompt, same_lengths
from jaxmtl.data.language.question_prompts import (
  answer_texts,
  answers,
  questions,
  questions_and_answers,
)
from jaxmtl.data.language.tokenizer import Tokenizer

__all__ = [
  "CAPTION_PREFIX",
  "CLASS_PREFIX",
  "Prompts",
  "Targets",
  "Tokenizer",
  "answer_texts",
  "answers",
  "caption_texts",
  "captions",
  "class_answers",
  "class_captions",
  "clean_caption",
  "clean_question",
  "prompt",
  "questions",
  "questions_and_answers",
  "same_lengths",
]
