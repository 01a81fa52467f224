"""Captioned scenes: sentences, questions and experts agree; files give the same."""

import json
import re

import numpy as np
import pytest

from jaxmtl import data
from jaxmtl.data import experts
from jaxmtl.data.embedded import digits
from jaxmtl.data.scene_drawing import COLORS, draw_scene, textures
from jaxmtl.data.scene_sentences import captions, questions

LABELS = ("depth", "edge", "seg", "obj_detection")


@pytest.fixture(scope="module")
def made():
  return data.captioned_scenes(60, 48, seed=1)


@pytest.fixture(scope="module")
def scenes():
  """The digits behind what is said."""
  source, grounds = digits()[0], textures(48)
  rngs = [np.random.default_rng(i) for i in range(60)]
  return [(rng, draw_scene(rng, source.images[..., 0], source.labels, grounds, 3)) for rng in rngs]


def test_experts_are_right(made):
  examples = made.examples
  assert examples["rgb"].shape == (60, 48, 48, 3)
  for name in LABELS:
    assert (examples[name].shape, examples[name].dtype) == ((60, 48, 48, 1), np.uint8)
  for i in range(60):
    depth, seg, edge = (examples[name][i, ..., 0] for name in ("depth", "seg", "edge"))
    np.testing.assert_array_equal(depth == 0, seg == 255)
    assert depth.max() == 255
    for level in np.unique(depth):  # each is one digit
      assert len(np.unique(seg[depth == level])) == 1
    outline = np.zeros(depth.shape, bool)
    outline[1:] |= np.diff(depth.astype(int), axis=0) != 0
    outline[:, 1:] |= np.diff(depth.astype(int), axis=1) != 0
    np.testing.assert_array_equal(edge == 0, outline)
    classes, boxes = examples["obj_detection_classes"][i], examples["obj_detection"][i, ..., 0]
    assert sorted(set(seg.ravel()) - {255}) == sorted(set(classes) - {-1})
    assert (boxes[seg != 255] != 255).all()
  bright = examples["rgb"].max(-1)
  seg = examples["seg"][..., 0]
  assert bright[seg != 255].mean() > bright[seg == 255].mean() + 60
  experts.check_classes(examples, data.scene_features())
  found = experts.model_inputs(
    {name: values[:2] for name, values in examples.items()}, data.scene_features()
  )
  assert {k: v.shape[-1] for k, v in found.items() if k in LABELS} == data.SCENE_EXPERTS
  np.testing.assert_array_equal(found["obj_instance"], examples["obj_detection"][:2, ..., 0])


def test_captions_say_what_is_there(scenes):
  for rng, scene in scenes:
    told = captions(rng, scene)
    assert len(told) == 5
    names = {f"{d.color} {d.digit}": d for d in scene.digits}
    words = ("one", "two", "three")
    assert told[0].startswith(words[len(scene.digits) - 1])
    assert all(name in told[0] and name in told[3].replace("a large ", "a ") for name in names)
    assert told[4].count(" and ") <= 1
    for text in told[:4]:
      assert {f"{c} {n}" for c, n in re.findall(r"(\w+) (\d)\b", text)} <= set(names)
    if match := re.fullmatch(r"a (\w+ \d) (left of|right of|above|below) a (\w+ \d)", told[1]):
      first, second = names[match[1]], names[match[3]]
      if match[2] in ("above", "right of"):
        first, second = second, first
      apart = (second.column - first.column, first.row - second.row)
      assert apart[match[2] in ("above", "below")] > 0
    if match := re.fullmatch(r"a (\w+ \d) (in front of|behind) a (\w+ \d)", told[2]):
      near, far = (names[match[i]] for i in ((1, 3) if match[2] == "in front of" else (3, 1)))
      assert (scene.digits.index(near), scene.digits.index(far)) in scene.covers
  assert any(" in front of " in captions(rng, scene)[2] for rng, scene in scenes)


def test_questions_have_one_right_answer(scenes):
  kinds = set()
  for rng, scene in scenes:
    by_name = {f"{d.color} {d.digit}": d for d in scene.digits}
    by_color = {d.color: d for d in scene.digits}
    for asked in questions(rng, scene, 7, 10):
      kinds.add(asked.kind)
      assert asked.image == 7
      text, answer = asked.question, asked.answer
      if asked.kind == "count":
        assert answer == str(len(scene.digits))
      elif asked.kind == "color":
        digit = int(re.search(r"\d", text)[0])
        assert [d.color for d in scene.digits if d.digit == digit] == [answer]
      elif asked.kind == "digit":
        assert answer == str(by_color[re.search(r"is (\w+)\?", text)[1]].digit)
      elif asked.kind == "existence":
        thing = re.search(r"there an? (\w+)", text)[1]
        there = (
          thing in by_color if thing in COLORS else int(thing) in {d.digit for d in scene.digits}
        )
        assert answer == ("yes" if there else "no")
      elif asked.kind == "place":
        ordered = sorted(scene.digits, key=lambda d: d.column)
        assert answer == str(ordered[0 if "left" in text else -1].digit)
      elif asked.kind == "comparison":
        first, second = (by_name[name] for name in re.findall(r"the (\w+ \d)", text))
        assert answer == ("yes" if first.column < second.column else "no")
      else:
        far = scene.digits.index(by_name[re.search(r"the (\w+ \d)", text)[1]])
        (near,) = (near for near, other in scene.covers if other == far)
        assert answer == str(scene.digits[near].digit)
  assert kinds == {"count", "color", "digit", "existence", "place", "comparison", "order"}


def test_the_first_are_the_same_however_many_follow_and_parts_differ(made):
  few = data.captioned_scenes(3, 48, seed=1)
  for name, values in few.examples.items():
    np.testing.assert_array_equal(values, made.examples[name][:3])
  assert few.captions == made.captions[:3]
  assert few.questions == made.questions[: len(few.questions)]
  for other in (data.captioned_scenes(3, 48), data.captioned_scenes(3, 48, seed=1, part="test")):
    assert not np.array_equal(other.examples["rgb"], few.examples["rgb"])
  ink = [{image.tobytes() for image in part.images} for part in digits()]
  assert not ink[0] & ink[2]


def test_files_give_the_same(made, tmp_path):
  few = {"train": data.captioned_scenes(4, 32), "test": data.captioned_scenes(3, 32, part="test")}
  data.write_captioned_scenes(few, tmp_path, tmp_path / "labels")
  told = json.loads((tmp_path / "dataset_scenes.json").read_text())["images"]
  for part, split in (("train", "train"), ("test", "test")):
    entries = [entry for entry in told if entry["split"] == split]
    raw = tuple(tuple(s["raw"] for s in entry["sentences"]) for entry in entries)
    assert raw == few[part].captions
    names = [f"vqav2/{entry['filename']}" for entry in entries]
    files = experts.ExpertFiles(
      names, [tmp_path / name for name in names], tmp_path / "labels", LABELS, side=32
    )
    loaded = files.load()
    assert set(loaded) == set(few[part].examples)
    for name, values in few[part].examples.items():
      np.testing.assert_array_equal(loaded[name], values)
      assert loaded[name].dtype == values.dtype
  learned = json.loads((tmp_path / "vqav2_train_val.json").read_text())
  assert [(e["question"], e["answer"], e["dataset"], e["weight"]) for e in learned] == [
    (asked.question, asked.answer, "vqa", 1.0) for asked in few["train"].questions
  ]
  tested = json.loads((tmp_path / "vqav2_test.json").read_text())
  notes = json.loads((tmp_path / "vqav2_test_annotations.json").read_text())["annotations"]
  assert [e["question_id"] for e in tested] == [note["question_id"] for note in notes]
  assert [n["answers"][9]["answer"] for n in notes] == [q.answer for q in few["test"].questions]
  assert set(json.loads((tmp_path / "answer_list.json").read_text())) >= {
    q.answer for q in few["test"].questions
  }
  with pytest.raises(ValueError, match=r"parts must be among train.* got \['val'\]"):
    data.write_captioned_scenes({"val": made}, tmp_path, tmp_path)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_images": 0}, "num_images must be at least 1"),
    ({"side": 20}, "side at least 24, .* got 4000, 20"),
    ({"most": 7}, "most from 1 to 6"),
    ({"part": "val"}, "part must be train, validation or test, got 'val'"),
  ],
)
def test_what_does_not_fit_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    data.captioned_scenes(**options)
