"""Language: a tokenizer, texts as batches, and data sets of captions, questions and classes."""

from jaxmtl.data.language.caption_prompts import (
  CAPTION_PREFIX,
  CLASS_PREFIX,
  caption_texts,
  captions,
  class_answers,
  class_captions,
)
from jaxmtl.data.language.caption_sets import (
  CaptionSet,
  join_captions,
  read_coco_captions,
  read_conceptual_captions,
  read_genome_captions,
  read_nocaps,
)
from jaxmtl.data.language.cleaning import clean_caption, clean_question
from jaxmtl.data.language.own_captions import read_captions, read_karpathy
from jaxmtl.data.language.prompts import Prompts, Targets, prompt, same_lengths
from jaxmtl.data.language.question_prompts import (
  answer_texts,
  answers,
  questions,
  questions_and_answers,
)
from jaxmtl.data.language.question_sets import (
  QuestionSet,
  read_answer_list,
  read_vqa_answers,
  read_vqa_test,
  read_vqa_train,
)
from jaxmtl.data.language.results import write_answers, write_captions
from jaxmtl.data.language.shots import ClassSet, read_imagenet
from jaxmtl.data.language.tokenizer import Tokenizer

__all__ = [
  "CAPTION_PREFIX",
  "CLASS_PREFIX",
  "CaptionSet",
  "ClassSet",
  "Prompts",
  "QuestionSet",
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
  "join_captions",
  "prompt",
  "questions",
  "questions_and_answers",
  "read_answer_list",
  "read_captions",
  "read_coco_captions",
  "read_conceptual_captions",
  "read_genome_captions",
  "read_imagenet",
  "read_karpathy",
  "read_nocaps",
  "read_vqa_answers",
  "read_vqa_test",
  "read_vqa_train",
  "same_lengths",
  "write_answers",
  "write_captions",
]
