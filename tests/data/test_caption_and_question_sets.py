"""Readers of captions, questions and classes, on files in their formats, and files of results."""

import json

import numpy as np
import pytest

from jaxmtl.data import language


def images(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


@pytest.fixture
def karpathy(tmp_path):
  images(tmp_path, "Images/a.jpg", "Images/b.jpg", "Images/c.jpg")
  entries = [
    {"filename": name, "split": split, "sentences": [{"raw": c} for c in captions]}
    for name, split, captions in (
      ("a.jpg", "train", ["A dog .", "Dogs"]),
      ("b.jpg", "test", ["A cat ."]),
      ("c.jpg", "restval", ["A cow ."]),
    )
  ]
  return write(tmp_path / "dataset.json", {"images": entries})


def test_karpathy(karpathy):
  train = language.read_karpathy(karpathy, "train")
  assert train.names == ("Images/a.jpg", "Images/c.jpg")
  assert train.ids == ("a.jpg", "c.jpg")
  assert train.paths[0] == karpathy.parent / "Images" / "a.jpg"
  rows, texts = train.pairs()
  assert (rows.tolist(), texts) == ([0, 0, 1], ["A dog .", "Dogs", "A cow ."])
  assert train.subset(np.array([1])).captions == (("A cow .",),)
  test = language.read_karpathy(karpathy, "test")
  assert len(language.join_captions([train, test])) == 3
  assert len({s.fingerprint() for s in (train, test, train.subset([1]))}) == 3
  with pytest.raises(ValueError, match=r"'Images/a\.jpg' is in two"):
    language.join_captions([train, train])
  with pytest.raises(ValueError, match="no image in the part validation"):
    language.read_karpathy(karpathy, "validation")
  with pytest.raises(ValueError, match=r"part must be .* got 'val'"):
    language.read_karpathy(karpathy, "val")
  for name in "ac":
    (karpathy.parent / "Images" / f"{name}.jpg").unlink()
  with pytest.raises(FileNotFoundError, match=r"json names 2 image\(s\) .*a\.jpg, .*c\.jpg\."):
    language.read_karpathy(karpathy, "train")


def test_coco_as_karpathy_split_it(tmp_path):
  entry = {"filepath": "val2014", "filename": "x.jpg", "cocoid": 9, "split": "val"}
  images(tmp_path, "photos/val2014/x.jpg")
  file = write(tmp_path / "d.json", {"images": [entry | {"sentences": [{"raw": "A dog"}]}]})
  found = language.read_karpathy(file, "validation", images=tmp_path / "photos")
  assert (found.names, found.ids) == (("photos/val2014/x.jpg",), (9,))


def test_captions_of_pre_training_and_of_the_servers(tmp_path):
  names = [f"val2014/COCO_val2014_{i:012d}.jpg" for i in (7, 8)]
  images(tmp_path, *(f"vqav2/{name}" for name in names), "nocaps/n.jpg", "vg/VG_100K/5.jpg")
  write(
    tmp_path / "coco_karpathy_train.json",
    [{"image": names[i], "caption": c} for i, c in ((1, "B"), (0, "A"), (1, "C"))],
  )
  train = language.read_coco_captions(tmp_path)
  assert (train.ids, train.captions) == ((8, 7), (("B", "C"), ("A",)))
  write(tmp_path / "coco_karpathy_test.json", [{"image": name} for name in names])
  assert language.read_coco_captions(tmp_path, "test").captions == ((), ())
  truth = [{"image_id": 8, "caption": "T"}]
  file = write(tmp_path / "coco_karpathy_test_gt.json", {"annotations": truth})
  with pytest.raises(ValueError, match=r"no caption for 1 image\(s\), the first is 7"):
    language.read_coco_captions(tmp_path, "test")
  write(file, {"annotations": [*truth, {"image_id": 7, "caption": "U"}]})
  assert language.read_coco_captions(tmp_path, "test").captions == (("U",), ("T",))

  write(tmp_path / "nocaps_val.json", [{"image": "n.jpg", "img_id": 3}])
  nocaps = language.read_nocaps(tmp_path)
  assert (nocaps.names, nocaps.ids, nocaps.captions) == (("nocaps/n.jpg",), (3,), ((),))
  write(
    tmp_path / "vg_caption.json", [{"image": "visual-genome/VG_100K/5.jpg", "caption": "A wall"}]
  )
  assert language.read_genome_captions(tmp_path).names == ("vg/VG_100K/5.jpg",)

  images(tmp_path, "cc12m/00/b.jpg", "cc12m/00/a.jpg")
  write(tmp_path / "cc12m/00/a.txt", "First\nsecond")
  with pytest.raises(FileNotFoundError, match=r"no .*b\.txt', the caption of b\.jpg"):
    language.read_conceptual_captions(tmp_path, "cc12m")
  write(tmp_path / "cc12m/00/b.txt", " ")
  with pytest.raises(ValueError, match=r"b\.txt: the caption ' ' is empty"):
    language.read_conceptual_captions(tmp_path, "cc12m")
  write(tmp_path / "cc12m/00/b.txt", "B")
  found = language.read_conceptual_captions(tmp_path, "cc12m")
  assert (found.names, found.captions) == (
    ("cc12m/00/a.jpg", "cc12m/00/b.jpg"),
    (("First",), ("B",)),
  )
  with pytest.raises(FileNotFoundError, match=r"no image .*cc3m_sgu"):
    language.read_conceptual_captions(tmp_path, "cc3m_sgu")


def test_captions_of_ones_own(tmp_path):
  images(tmp_path, "a.jpg", "b.jpg")
  table = write(
    tmp_path / "own.csv", "split;image;caption\nval;a.jpg;A dog, asleep\ntest;b.jpg;B\n"
  )
  found = language.read_captions(table)
  assert found.names == tuple(f"{tmp_path.name}/{name}.jpg" for name in "ab")
  assert found.ids == ("a.jpg", "b.jpg")
  elsewhere = language.read_captions(table, images=tmp_path / ".." / tmp_path.name)
  assert elsewhere.names == found.names
  assert language.read_captions(table, "validation").captions == (("A dog, asleep",),)
  with pytest.raises(ValueError, match="no caption in the part train"):
    language.read_captions(table, "train")
  listed = [{"image": "a.jpg", "caption": "A"}, {"image": "a.jpg", "caption": "B"}]
  file = write(tmp_path / "own.json", listed)
  assert language.read_captions(file).captions == (("A", "B"),)
  with pytest.raises(ValueError, match="entry 0: there is no 'split', which says"):
    language.read_captions(file, "test")
  for content, message in (
    ("image,text\na.jpg,A\n", "must have one column 'caption', got image, text"),
    ("image,caption\na.jpg,\n", "row 2: the caption '' is empty"),
    ("image,caption\n,A\n", "row 2: column 'image' is empty"),
    ("image,caption,split\na.jpg,A,dev\n", "row 2: split must be .* got 'dev'"),
  ):
    write(table, content)
    with pytest.raises(ValueError, match=message):
      language.read_captions(table)
  write(table, "image,caption\na.jpg,A\n./a.jpg,B\n")
  with pytest.raises(ValueError, match=r"2 images would share the labels of '.*/a\.jpg'"):
    language.read_captions(table)
  write(table, "image,caption\ngone.jpg,A\n")
  with pytest.raises(FileNotFoundError, match=r"own\.csv names 1 image.*gone\.jpg"):
    language.read_captions(table)
  outside = tmp_path / "elsewhere" / "own.csv"
  outside.parent.mkdir()
  for name in ("../a.jpg", str(tmp_path / "a.jpg")):
    write(outside, f"image,caption\n{name},A\n")
    with pytest.raises(
      ValueError, match=r"own\.csv: the name must lead .* got '(\.\./|/).*a\.jpg'"
    ):
      language.read_captions(outside)
  with pytest.raises(FileNotFoundError, match="a table of captions"):
    language.read_captions(tmp_path / "no.csv")
  with pytest.raises(ValueError, match=r"must end in \.csv"):
    language.read_captions(tmp_path / "a.jpg")


def test_questions(tmp_path):
  images(tmp_path, "vqav2/train2014/a.jpg", "vg/VG/b.jpg")
  asked = {"dataset": "vqa", "image": "train2014/a.jpg", "question": "Is it red?"}
  main = tmp_path / "vqav2_train_val.json"
  write(main, [asked | {"answer": "yes", "weight": 0.75}, asked | {"answer": "no", "weight": 0.25}])
  genome = {"dataset": "vg", "image": "VG/b.jpg", "question": "What?", "answer": "wall"}
  write(tmp_path / "vg_qa.json", [genome])
  found = language.read_vqa_train(tmp_path)
  assert found.names == ("vqav2/train2014/a.jpg",) * 2 + ("vg/VG/b.jpg",)
  assert (found.answers, found.ids) == (("yes", "no", "wall"), None)
  np.testing.assert_array_equal(found.weights, np.float32([0.75, 0.25, 0.2]))
  write(main, [asked | {"answer": "yes", "weight": 1, "image": "../vg/VG/b.jpg"}])
  with pytest.raises(ValueError, match=r"vqav2_train_val\.json.* got 'vqav2/\.\./vg"):
    language.read_vqa_train(tmp_path)
  write(main, [asked | {"answer": "yes", "weight": 0.75}, asked | {"answer": "no", "weight": 0.25}])
  last = found.subset([2])
  assert (last.questions, last.answers, len(last)) == (("What?",), ("wall",), 1)
  assert found.fingerprint() != language.read_vqa_train(tmp_path, genome=False).fingerprint()
  test = tmp_path / "vqav2_test.json"
  write(test, [asked | {"question_id": 5}])
  assert language.read_vqa_test(tmp_path).ids == (5,)
  for entry, message in (
    ({"answer": ["yes"], "weight": 1}, r"entry 0: 'answer' must be a text .* got \['yes'\]"),
    ({"answer": "yes"}, "entry 0: 'weight' must be a number of at least 0, got None"),
    ({"answer": "yes", "weight": 1, "dataset": "gqa"}, "must be one of vqa, vg, got 'gqa'"),
    ({"answer": "yes", "weight": 1, "question": " ? "}, "entry 0: the question is empty"),
  ):
    write(main, [asked | entry])
    with pytest.raises(ValueError, match=message):
      language.read_vqa_train(tmp_path)
  write(test, [asked | {"question_id": 5}] * 2)
  with pytest.raises(ValueError, match=r"1 question_id\(s\) twice"):
    language.read_vqa_test(tmp_path)
  write(test, [asked | {"question_id": 5, "image": "gone.jpg"}])
  with pytest.raises(FileNotFoundError, match=r"vqav2_test\.json names 1 .*gone\.jpg"):
    language.read_vqa_test(tmp_path)


def test_answers(tmp_path):
  file = write(tmp_path / "answers.json", ["yes", "no"])
  assert language.read_answer_list(file) == ("yes", "no")
  for content, message in (
    ('["yes"', "is no JSON file"),
    ([], "must hold a list of answers, got nothing"),
    ({"yes": 1}, "got dict"),
    (["yes", 2], "entry 1: it must be a text"),
    (["yes", "yes"], "has 'yes' twice"),
  ):
    write(file, content)
    with pytest.raises(ValueError, match=message):
      language.read_answer_list(file)
  with pytest.raises(FileNotFoundError, match="a list of answers"):
    language.read_answer_list(tmp_path / "gone.json")
  people = [{"answer": "yes", "answer_id": i} for i in range(10)]
  write(file, {"annotations": [{"question_id": 1, "answers": people}]})
  assert language.read_vqa_answers(file) == {1: ("yes",) * 10}
  write(file, {"questions": []})
  with pytest.raises(ValueError, match="must have a list 'annotations'"):
    language.read_vqa_answers(file)


def test_imagenet(tmp_path):
  names = [f"imagenet_train/{c}/{i}.JPEG" for c in ("n2", "n1") for i in (2, 1)]
  images(tmp_path, *names, "imagenet/n2/v.JPEG")
  write(tmp_path / "imagenet/imagenet_answer.json", ["Tench", "Shark"])
  classes = write(tmp_path / "imagenet/imagenet_class.json", {"n1": 0, "n2": "1"})
  found = language.read_imagenet(tmp_path, shots=1)
  assert found.names == ("imagenet_train/n1/1.JPEG", "imagenet_train/n2/1.JPEG")
  assert (found.labels.tolist(), found.classes) == ([0, 1], ("Tench", "Shark"))
  assert len(language.read_imagenet(tmp_path)) == 4
  test = language.read_imagenet(tmp_path, "test")
  assert (test.names, test.labels.tolist()) == (("imagenet/n2/v.JPEG",), [1])
  with pytest.raises(ValueError, match=r"n1' has 2 images, fewer than shots=3"):
    language.read_imagenet(tmp_path, shots=3)
  write(classes, {"n1": 2, "n2": 1})
  with pytest.raises(ValueError, match="'n1' must be from 0 to 1, got 2"):
    language.read_imagenet(tmp_path)
  write(classes, {"n1": 0})
  with pytest.raises(ValueError, match=r"no class 'n2', but there is .*imagenet_train/n2"):
    language.read_imagenet(tmp_path)


def test_results(tmp_path):
  file = tmp_path / "results" / "captions.json"
  language.write_captions(file, np.array([3, 4]), ["A dog.", "Caf\u00e9."])
  assert json.loads(file.read_text()) == [
    {"image_id": 3, "caption": "A dog."},
    {"image_id": 4, "caption": "Caf\u00e9."},
  ]
  language.write_answers(file, (5,), ["yes"])
  assert json.loads(file.read_text()) == [{"question_id": 5, "answer": "yes"}]
  with pytest.raises(ValueError, match="one answer for each question_id, got 1 for 2"):
    language.write_answers(file, (5, 6), ["yes"])
  with pytest.raises(ValueError, match="image_id 3 comes twice"):
    language.write_captions(file, [3, 3], ["A", "B"])
  assert [path.name for path in file.parent.iterdir()] == ["captions.json"]
