"""Captions and answers against values of the field's programs, and against slow code."""

import itertools
import random
import shutil

import numpy as np
import pytest

from jaxmtl import metrics

WORDS = ["a", "dog", "runs", "on", "grass"]
# Of `sentences(7)` and `sentences(8)`, by pycocoevalcap 1.2.
BLEU = {
  7: [0.730807671496, 0.51052029159, 0.179766867765, 2.02177372041e-05],
  8: [0.603946152896, 0.47967371783, 0.306323781326, 0.15336542649],
}
CIDER = {
  7: [
    0.467132424747,
    0.869709373326,
    0.0,
    1.12228481304,
    1.1196275061,
    3.45353643572,
    0.0,
    1.34192377475,
    0.743222137176,
    2.84830791526,
    1.79097450174,
    0.0608763894428,
  ],
  8: [
    1.51524520919,
    0.0,
    0.0,
    1.89629932832,
    3.0375056872,
    1.02642422787,
    0.674652916311,
    2.14822120429,
    1.71018603812,
    0.611083286029,
    0.814505997329,
    1.95645465946,
  ],
}


def sentences(seed):
  """Captions of twelve images, some of them empty, and one to five references of each."""
  rng = random.Random(seed)

  def sentence(least):
    return " ".join(rng.choices(WORDS, k=rng.randint(least, 12)))

  made = [sentence(0) for _ in range(12)]
  return made, [[sentence(1) for _ in range(rng.randint(1, 5))] for _ in made]


@pytest.mark.parametrize("seed", [7, 8])
def test_values_of_the_fields_package(seed):
  made, true = sentences(seed)
  np.testing.assert_allclose(metrics.bleu(made, true, words_of=str.split), BLEU[seed], rtol=1e-9)
  found = metrics.cider_d(made, true, words_of=str.split)
  np.testing.assert_allclose(found, CIDER[seed], rtol=1e-9, atol=1e-12)


def test_the_fields_package_itself():
  bleu = pytest.importorskip("pycocoevalcap.bleu.bleu")
  cider = pytest.importorskip("pycocoevalcap.cider.cider")
  for seed in range(5):
    made, true = sentences(seed)
    results, truths = {i: [text] for i, text in enumerate(made)}, dict(enumerate(true))
    want, _ = bleu.Bleu(4).compute_score(truths, results, verbose=0)
    np.testing.assert_allclose(metrics.bleu(made, true, words_of=str.split), want, rtol=1e-9)
    _, want = cider.Cider().compute_score(truths, results)
    found = metrics.cider_d(made, true, words_of=str.split)
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-12)
  if shutil.which("java"):
    made, true = ["A dog's ball.", "A cat runs"], [["The dog's red ball"], ["A cat is running."]]
    found = metrics.coco_scores(made, true, names=("BLEU", "CIDEr"))  # METEOR takes 20 s
    assert found["CIDEr"] == pytest.approx(metrics.cider_d(made, true).mean())
    assert [found[f"BLEU-{n}"] for n in range(1, 5)] == pytest.approx(metrics.bleu(made, true))


def test_stanfords_words():
  """Those of Stanford's tokenizer 3.4.1, as the field's package calls it."""
  for text, want in (
    ("The man's dog isn't here .", "the man 's dog is n't here"),
    ("It is 5:30 p.m. in St. Louis, U.S.", "it is 5:30 p.m. in st. louis u.s."),
    ("3,000 people stand; 2.5 of them wait!", "3,000 people stand 2.5 of them wait"),
    ("You can't and won't and cannot", "you ca n't and wo n't and can not"),
    ("We're gonna, I'll and I'm", "we 're gon na i 'll and i 'm"),
    ("a two-year-old in a t-shirt - w/ 1/2", "a two-year-old in a t-shirt w / 1/2"),
    ('A "quoted" sign (in red) costs $5', "a quoted sign -lrb- in red -rrb- costs $ 5"),
    ("ten o'clock, the dogs' 80's", "ten o'clock the dogs 80 's"),
    ("\u201ccaf\u00e9\u201d it\u2019s a 4x4 of a.com ...", "caf\u00e9 it 's a 4x4 of a.com"),
  ):
    assert " ".join(metrics.caption_words(text)) == want


def test_what_captions_score():
  true = [["A dog runs on the grass.", "Dogs run"], ["A man sits.", "The man sits with a cat"]]
  same = [texts[0].upper() for texts in true]
  np.testing.assert_allclose(metrics.bleu(same, true)[:3], 1, rtol=1e-6)
  one = [[texts[0]] for texts in true]
  assert metrics.cider_d(same, one)[0] == pytest.approx(10)
  assert metrics.cider_d(same, one)[1] == pytest.approx(7.5)  # three words have no four-gram
  other = ["zebra zebra zebra zebra"] * 2
  assert np.all(metrics.bleu(other, true) < 1e-3)
  np.testing.assert_array_equal(metrics.cider_d(other, true), 0)
  # The order of references changes nothing, that of words does.
  swapped = [texts[::-1] for texts in true]
  np.testing.assert_allclose(metrics.cider_d(same, true), metrics.cider_d(same, swapped))
  mixed = [" ".join(reversed(text.split())) for text in same]
  assert metrics.bleu(mixed, true)[1] < metrics.bleu(same, true)[1]
  assert metrics.cider_d(mixed, true).mean() < metrics.cider_d(same, true).mean()


def by_leaving_out(answer, people):
  """The site's formula, as it is told."""
  rights = []
  for left in range(len(people)):
    others = people[:left] + people[left + 1 :]
    rights.append(min(sum(other == answer for other in others) / 3, 1))
  return sum(rights) / len(rights)


def test_vqa_accuracy():
  for count, same in itertools.product((4, 10), range(11)):
    people = (["yes"] * same + ["no"] * 10)[:count]
    found = metrics.vqa_accuracy(["Yes."], [people])
    np.testing.assert_allclose(found, by_leaving_out("yes", people), rtol=1e-12)
  people = ["two"] * 10
  np.testing.assert_array_equal(metrics.vqa_accuracy(["2", "3"], [people, people]), [1, 0])


def test_normal_forms_of_answers():
  for text, want in (
    (" A red,\tbig ball\n", "red big ball"),
    ("black/white", "black white"),
    ("black / white", "black white"),
    ("3,000 men", "3000 men"),
    ("Ten.", "10"),
    ("none", "0"),
    ("2.5 and 3.", "2.5 and 3"),
    ("5:30", "5:30"),
    ("the man's", "man's"),
    ("DONT", "don't"),
    ("couldn'tve couldntve Im ive yall", "couldn't've couldn't've i'm i've y'all"),
    ("well its wed", "well its wed"),
    ("t-shirt", "t shirt"),
    ("what?!", "what"),
  ):
    assert metrics.normalize_answer(text) == want
    assert metrics.normalize_answer(want) == want


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.bleu([], []), "at least one, got 0 captions"),
    (lambda: metrics.cider_d(["A"], []), "got 1 captions and references of 0 images"),
    (
      lambda: metrics.bleu(["A", "B"], [["A"], []]),
      r"one text or more for each image, got \[\] at 1",
    ),
    (lambda: metrics.bleu(["A"], ["A dog"]), "got 'A dog' at 0"),
    (lambda: metrics.cider_d(["A"], [["A"]]), "two images or more"),
    (lambda: metrics.vqa_accuracy(["A"], []), "got 1 answers and references of 0 questions"),
    (lambda: metrics.vqa_accuracy(["A"], [["A"] * 3]), "four answers or more"),
    (lambda: metrics.coco_scores(["A"], [["A"]], names=("ROUGE",)), "got 'ROUGE'"),
  ],
)
def test_what_cannot_be_measured(call, message):
  with pytest.raises(ValueError, match=message):
    call()
