"""The tokenizer, cleaning, and texts as batches."""

import json
import pickle

import numpy as np
import pytest

from jaxmtl.data import language

TEXTS = ["A picture of a dog and a red ball", "What is on the red ball?", "A photo of a dog"] * 2
TOKENIZER = language.Tokenizer.train(TEXTS, 320)


def text_of(ids):
  """All of it, special words as they are written."""
  words = {number: word for word, number in TOKENIZER.vocabulary.items()}
  return "".join(words[int(i)] for i in ids).replace("Ġ", " ")


def test_a_tokenizer_gives_texts_back_and_is_the_same_from_the_same_texts(tmp_path):
  assert language.Tokenizer.train(TEXTS, 320) == TOKENIZER
  assert TOKENIZER.size < 320  # pairs that occur twice ran out
  assert [TOKENIZER.vocabulary[w] for w in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
  assert TOKENIZER.mask == TOKENIZER.vocabulary["<mask>"] == TOKENIZER.size - 1
  for text in ("A dog", " two  spaces ", "Straße 犬 🐕\n", "<s></s><pad><mask>", ""):
    ids = TOKENIZER.encode(text)
    assert not set(ids) & {0, 1, 2, 3, TOKENIZER.mask}  # special words are signs like others
    assert TOKENIZER.decode([0, *ids, 2, 5, 1]) == text
  TOKENIZER.save(tmp_path / "new")
  back = language.Tokenizer.read(tmp_path / "new")
  assert back == TOKENIZER
  assert back.fingerprint() == TOKENIZER.fingerprint()
  assert back.fingerprint() != language.Tokenizer.train(TEXTS, 280).fingerprint()
  assert (tmp_path / "new" / "merges.txt").read_text().startswith("#version: 0.2\n")
  assert pickle.loads(pickle.dumps(back)).encode("A dog") == TOKENIZER.encode("A dog")
  with pytest.raises(ValueError, match=f"from 0 to {back.size - 1}, got {back.size}"):
    back.decode([back.size])
  with pytest.raises(ValueError, match=r"size must be at least 261.* got 260"):
    language.Tokenizer.train(TEXTS, 260)


def change(**numbers):
  def changed(vocabulary, merges):
    return {k: v for k, v in {**vocabulary, **numbers}.items() if v is not None}, merges

  return changed


@pytest.mark.parametrize(
  ("damaged", "message"),
  [
    (change(**{"<s>": 4, "!": 0}), "must have <s> as number 0, .* got 4"),
    (change(**{"<mask>": None}), "must have <mask> as number .* got None"),
    (change(**{"#": 4}), "numbers must be 0 to .* 6 is missing"),
    (lambda v, m: ({("zz" if k == "#" else k): i for k, i in v.items()}, m), "lacks 1 .* '#'"),
    (lambda v, m: (v, [*m, ("q", "q")]), r"is 'q' 'q', but 'qq' is not in vocab\.json"),
    (lambda v, m: ({**v, "<s": v["<mask>"], "<mask>": len(v)}, [("<", "s"), ("<s", ">")]), "<s>"),
    (lambda v, m: (v, [("a", "b c")]), r"merges\.txt', line 2: two pieces .* got 'a b c'"),
    (lambda v, m: ([1, 2], m), r"vocab\.json' must hold one number"),
  ],
)
def test_damaged_vocabularies_are_told(tmp_path, damaged, message):
  vocabulary, merges = damaged(dict(TOKENIZER.vocabulary), list(TOKENIZER.merges))
  (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
  (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]))
  with pytest.raises(ValueError, match=message) as raised:
    language.Tokenizer.read(tmp_path)
  assert str(tmp_path) in str(raised.value)


def test_vocabularies_that_cannot_be_read(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no .*vocab\.json'; a tokenizer is a folder"):
    language.Tokenizer.read(tmp_path)
  (tmp_path / "vocab.json").write_text("{")
  with pytest.raises(FileNotFoundError, match=r"no .*merges\.txt'"):
    language.Tokenizer.read(tmp_path)
  (tmp_path / "merges.txt").write_text("")
  with pytest.raises(ValueError, match=r"vocab\.json' is no JSON file"):
    language.Tokenizer.read(tmp_path)


def test_the_same_numbers_as_transformers(tmp_path):
  transformers = pytest.importorskip("transformers")
  TOKENIZER.save(tmp_path)
  theirs = transformers.RobertaTokenizerFast.from_pretrained(str(tmp_path))
  text = "A picture of a dog's 3 red BALLS, and more\u2026"
  assert theirs(text, truncation=True, max_length=9).input_ids == [
    *(0, *TOKENIZER.encode(text)[:7], 2)
  ]
  asked = theirs("<s>What is it?", add_special_tokens=False).input_ids
  assert asked == language.questions(TOKENIZER, ["what is it"]).ids[0].tolist()
  answered = theirs(" Red ball</s>", add_special_tokens=False).input_ids
  assert answered == language.answers(TOKENIZER, ["red ball"]).ids[0].tolist()


def test_cleaning():
  assert language.clean_caption('a MAN in a "Nike" shirt .\n') == "A man in a nike shirt"
  assert language.clean_caption("It's 5:30; (well) #1 ~ *, & more - ?") == (
    "It's 5 30 well 1 , & more - ?"
  )
  assert language.clean_caption(" one two") == "one two"  # a space has no capital
  assert language.clean_caption(" ".join("w" * 31)).count(" ") == 29
  assert language.clean_caption(" .!") == language.clean_question(" ?.") == ""
  assert language.clean_question("is it RED.") == "Is it red?"
  assert language.clean_question("Is it red?") == "Is it red?"
  assert language.clean_question("is (it) red") == "Is  it  red?"  # spaces stay
  assert language.clean_question(" ".join("w" * 31)) == "W" + " w" * 29 + "?"


def test_captions():
  texts = ["A dog .", "a red ball and a dog"]
  ids, mask, labels = language.captions(TOKENIZER, texts)
  assert [x.dtype for x in (ids, mask, labels)] == [np.int32] * 3
  assert text_of(ids[1]) == "<s>A picture of a red ball and a dog</s>"
  assert text_of(ids[0][mask[0] > 0]) == "<s>A picture of a dog</s>"
  assert np.all(ids[mask == 0] == 1)
  assert text_of(labels[0][labels[0] >= 0]) == " a dog</s>"
  start = language.prompt(TOKENIZER, "A picture of", 2).ids
  assert start.shape[0] == 2
  assert np.all(ids[:, : start.shape[1]] == start)
  assert np.all(labels[:, : start.shape[1]] == -100)
  np.testing.assert_array_equal(labels[:, start.shape[1] :] == -100, mask[:, start.shape[1] :] == 0)
  assert language.caption_texts(TOKENIZER, ids, start.shape[1])[0] == "A dog."
  bare = language.captions(TOKENIZER, texts, prefix="", length=30)
  assert bare.ids.shape == (2, 30)
  assert text_of(bare.labels[0][bare.labels[0] >= 0]) == "A dog</s>"  # <s> alone is given
  with pytest.warns(UserWarning, match="1 of 2 captions .* 30 words or 9 pieces") as told:
    short = language.captions(TOKENIZER, texts, max_tokens=9)
  assert told[0].filename == __file__
  assert short.ids.shape == (2, 9)
  assert short.ids[1, -1] == 2
  with pytest.warns(UserWarning, match="1 of 1 captions"):
    language.captions(TOKENIZER, ["a " * 28], max_tokens=60)
  classes = language.class_captions(TOKENIZER, ["Red Ball."])
  assert text_of(classes.ids[0]) == "<s>A photo of a red ball.</s>"
  assert text_of(classes.labels[0][classes.labels[0] >= 0]) == " red ball.</s>"
  assert text_of(language.class_answers(TOKENIZER, ["Red Ball."]).ids[0]) == " red ball.</s>"


def test_questions_with_padding_between_them_and_answers():
  asked, answered = ["what is it", "what is on the red ball"], ["a Dog", "dog"]
  ids, mask, labels = language.questions_and_answers(TOKENIZER, asked, answered)
  prompts = language.questions(TOKENIZER, asked)
  place = prompts.ids.shape[1]
  np.testing.assert_array_equal(ids[:, :place], prompts.ids)
  np.testing.assert_array_equal(mask[:, :place], prompts.mask)
  assert text_of(ids[1]).startswith("<s>What is on the red ball? Dog</s>")
  assert mask[0, place - 1] == 0  # which predicts the first word of the answer all the same
  assert np.all(labels[:, :place] == -100)
  assert text_of(labels[0][labels[0] >= 0]) == " A dog</s>"
  assert language.answer_texts(TOKENIZER, ids, place) == ["a dog", "dog"]
  wide = language.questions_and_answers(TOKENIZER, asked, answered, length=35, answer_length=12)
  assert wide.ids.shape == (2, 47)
  with pytest.warns(UserWarning, match="1 of 1 questions .* 35 pieces"):
    assert language.questions(TOKENIZER, ["zq " * 40]).ids.shape == (1, 35)
  rows = language.same_lengths(prompts.mask, 4)
  assert [r.tolist() for r in rows] == [[0], [1]]


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda t: language.captions(t, ["A dog", " . "]), r"caption 1 is empty once.* ' \. '"),
    (lambda t: language.captions(t, [".!"], prefix=""), "caption 0 is empty"),
    (lambda t: language.captions(t, ["A dog"], prefix="a Picture:"), "prefix must be.*'A picture'"),
    (lambda t: language.captions(t, ["A dog"], max_tokens=5), "max_tokens must be at least 6"),
    (lambda t: language.captions(t, ["A dog"], length=5), "length must be at least 7.* got 5"),
    (lambda t: language.captions(t, []), "at least one text"),
    (lambda t: language.questions(t, ["?"]), r"question 0 is empty once it is clean: '\?'"),
    (lambda t: language.questions_and_answers(t, ["a"], []), "got 0 for 1"),
    (lambda t: language.answers(t, ["yes", " "]), "answer 1 is empty"),
    (lambda t: language.answers(t, ["a dog"], length=2), "length must be at least 4"),
    (lambda t: language.class_answers(t, [""]), "name 0 is empty"),
    (lambda t: language.same_lengths(np.ones((1, 1)), 0), "batch_size must be at least 1"),
  ],
)
def test_texts_that_cannot_be(call, message):
  with pytest.raises(ValueError, match=message):
    call(TOKENIZER)
