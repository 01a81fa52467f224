"""Prismer's own: variants, data sets, what is frozen, what is said, tables, commands."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from experiments.prismer import asked, commands, figures, jobs, report, sets, speak, trained
from experiments.prismer import config as config_module
from experiments.prismer.config import PRESETS
from experiments.prismer.material import load
from experiments.prismer.problem import EXPERTS
from experiments.prismer.published import config_of
from experiments.prismer.sets import read_sets
from experiments.prismer.speaking import Speaker
from experiments.prismer.texts import Texts, by_image, one_each
from experiments.prismer.variants import Variant
from experiments.runner.config import override
from experiments.runner.job import WEIGHTS, Outcome
from jaxmtl import training
from jaxmtl.data.language import Targets
from jaxmtl.models import prismer
from jaxmtl.models.prismer.convert import shapes

TINY = override(
  PRESETS["quick"],
  **{"train_images": 6, "test_images": 3, "validation_images": 3, "experts": ("edge", "seg")},
  **{"image_size": 24, "patch_size": 12, "width": 8, "heads": 2, "resampler_heads": 2},
  **{"vision_layers": 1, "text_layers": 1, "resampler_layers": 1, "resampler_latents": 2},
  **{"epochs": 2, "batch_size": 3, "seeds": 2},
)


@pytest.fixture(scope="module")
def material():
  return load(TINY)


def zeros(config):
  return traverse_util.unflatten_dict(
    {path: np.full(leaf.shape, 0.1, np.float32) for path, leaf in shapes(config).items()}
  )


def test_variants_by_name():
  found = Variant.parse("prismer:experts=seg+depth,corrupt=.5,noise=2", ("depth", "edge", "seg"))
  assert (found.experts, found.corrupt, found.noises) == (
    ("depth", "seg"),
    0.5,
    ("noise_1", "noise_2"),
  )
  assert Variant.parse("prismerz", ("depth",)).experts == ()
  for name, message in (
    ("prismerz:experts=depth", "prismerz has no experts"),
    ("prismer:experts=normal", "'normal' is not among the experts, depth"),
    ("prismer:corrupt=2", "corrupt must be from 0 to 1"),
    ("prismer:latents=0", "latents must be at least 1"),
    ("prismer:freeze=all", "freeze must be one of none"),
    ("prismer:size=3", "no option 'size'"),
    ("clip", "must begin with prismer or prismerz"),
  ):
    with pytest.raises(ValueError, match=message):
      Variant.parse(name, ("depth",))


def test_texts_of_images():
  ids = np.arange(8).reshape(4, 2)
  texts = Texts.of([1, 0, 1, 1], Targets(ids, ids > 0, ids), np.array([1, 2, 3, 4]))
  found = by_image("vqa", texts, 2)
  assert found["vqa/count"].tolist() == [1, 3]
  assert found["vqa/weight"].tolist() == [[2, 2, 2], [1, 3, 4]]
  assert one_each("vqa", texts, 2)["vqa/ids"].tolist() == [[[2, 3]], [[4, 5]]]


def test_a_step_learns_what_is_not_frozen(material):
  """By the program's form alone: compiling takes a minute."""
  config = override(TINY, variants=("prismer:freeze=freeze_lang_vision,noise=1",))
  ((_, planned),) = jobs.plan(config, material).items()
  problem, step = planned.job.problem, planned.job.update
  examples = {
    name: jnp.asarray(values[:3]) for name, values in planned.job.feed._data["examples"].items()
  }
  batch = jax.eval_shape(problem.prepare, jax.random.key(0), examples)
  assert set(batch) == {EXPERTS, "caption", "vqa"}
  assert {name: x.shape for name, x in batch[EXPERTS].items()} == {
    "rgb": (3, 24, 24, 3),
    "edge": (3, 24, 24, 1),
    "seg": (3, 24, 24, 64),
    "noise_1": (3, 24, 24, 1),
  }
  variables = jax.eval_shape(problem.init, jax.random.key(0), None)

  def start(variables):
    return planned.job.start(step, jax.random.key(0), variables)

  state = jax.eval_shape(start, variables)
  after, metrics = jax.eval_shape(step.update, state, batch)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert metrics["losses"].shape == (2,)
  learns = planned.what.trained(variables["params"])
  sizes = jax.tree.map(lambda leaf, keep: leaf.size * keep, variables["params"], learns)
  held = [leaf.size for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim]
  assert sum(held) == 2 * sum(jax.tree.leaves(sizes))  # Adam's two moments
  assert not all(jax.tree.leaves(learns))
  assert jax.eval_shape(
    problem.predict,
    variables,
    {
      **examples,
      **{
        f"{t}/{n}": x[:, :1]
        for t in ("caption", "vqa")
        for n in ("ids", "labels", "weight")
        for x in (examples[f"{t}/{n}"],)
      },
    },
  )["vqa"].shape == (3,)


def test_the_rate_of_the_recipe(material):
  config = override(TINY, warmup_steps=2, learning_rate=0.1, weight_decay=0.0, lowest_rate=0.0)
  what = jobs.plan(config, material)["equal", "prismerz"].what
  trained_alike = what._replace(trained=lambda params: jax.tree.map(lambda _: True, params))
  tx = jobs.recipe_of(config, trained_alike, 5).optimizer(10)
  params = {"w": jnp.ones(())}
  state, moves = tx.init(params), []
  for _ in range(10):
    updates, state = tx.update({"w": jnp.ones(())}, state, params)
    moves.append(-float(updates["w"]))
  # Adam's steps are as long as the rate is.
  np.testing.assert_allclose(moves[:2], [1e-6, 0.05], rtol=1e-3)
  np.testing.assert_allclose(moves[5], 0.05, rtol=1e-3)
  assert moves[9] < 0.01


def test_labels_are_spoiled_as_asked(material):
  config = override(TINY, variants=("prismer", "prismer:corrupt=1", "prismerz:noise=2"))
  clean, spoiled, noise = (planned.images for planned in jobs.plan(config, material).values())
  assert set(clean) == {"rgb", "edge", "seg"}
  assert set(noise) == {"rgb", "noise_1", "noise_2"}
  assert (spoiled["seg"] < 10).all()
  assert (spoiled["edge"] != clean["edge"]).mean() > 0.9
  np.testing.assert_array_equal(spoiled["rgb"], clean["rgb"])


def test_noise_in_labels_of_objects_does_not_say_which_there_are():
  config = override(TINY, experts=("obj_detection",))
  config = override(config, variants=("prismer", "prismer:corrupt=1", "prismer:corrupt=.5"))
  clean, spoiled, half = (p.images for p in jobs.plan(config, load(config)).values())
  extra = spoiled["obj_detection_classes"].shape[1] - clean["obj_detection_classes"].shape[1]
  assert (spoiled["obj_detection"] < extra).all()
  own = [set(row[row >= 0]) for row in clean["obj_detection_classes"]]
  seen = [set(row[:extra]) for row in spoiled["obj_detection_classes"]]
  assert all(b - a for a, b in zip(own, seen, strict=True))
  # What is left says what it said.
  label, was = half["obj_detection"], clean["obj_detection"]
  left = label >= extra
  assert 0.4 < left.mean() < 0.6
  for i in range(len(label)):
    numbers = label[i][left[i]].astype(int)
    objects = numbers != 255
    np.testing.assert_array_equal(numbers[~objects], was[i][left[i]][~objects])
    np.testing.assert_array_equal(
      half["obj_detection_classes"][i][numbers[objects]],
      clean["obj_detection_classes"][i][was[i][left[i]][objects]],
    )


def test_what_was_said_is_rated_written_and_drawn(material, tmp_path, monkeypatch):
  """Tables and figures of made-up outcomes: networks that know all, or nothing."""
  monkeypatch.setattr(
    Speaker, "captions", lambda self, _, images: ["A white 7."] * len(images["rgb"])
  )
  right = {
    q: r[0]
    for q, r in zip(material.tests["vqa"].questions, material.tests["vqa"].references, strict=True)
  }

  def answers(self, variables, images, asked, candidates):
    return [right[q] if self.model.config.experts else "blue" for q in asked]

  def looked(model, variables, experts):
    return {name: jnp.full((1, 1, 2, 2, 2, 2), 0.1) for name in model.config.experts}

  monkeypatch.setattr(Speaker, "answers", answers)
  monkeypatch.setattr(prismer, "expert_attention", looked)
  monkeypatch.setitem(config_module._ABLATIONS, "experts", ("prismerz", "prismer"))
  config = override(TINY, ablations=("experts",), experts=("edge", "depth", "seg"))
  material = load(config)
  planned, found = jobs.plan(config, material), {}
  rows = [
    {
      "epoch": e,
      "step": 2 * e,
      "seconds": 1.0,
      "validation": {"loss": {"caption": [2.0, 1.0], "vqa": [1.0, 1.0]}},
    }
    for e in (1, 2)
  ]
  for key, one in planned.items():
    home = tmp_path / key[1].replace(":", "_")
    home.mkdir()
    values = {"loss": {"caption": np.ones(2), "vqa": np.ones(2)}}
    outcome = Outcome(key[1], ("caption", "vqa"), values, rows, 500.0, 1.0, 1.0, None, home)
    weights = jax.tree.map(lambda leaf: np.stack([leaf] * 2), zeros(one.what.model.config))
    training.save_weights(home / WEIGHTS, weights, job=key[1])
    trained.keep(outcome, material)
    found[key] = outcome, asked.ask(config, material, one, outcome)
    assert asked.ask(config, material, one, outcome) == found[key][1]  # from disk
  summary = report.write(config, planned, found, tmp_path)
  first = {row["name"]: row for row in summary["results"]}
  assert "accuracy" in first["prismer"]["values"]
  exact = first["prismer"]["values"]["exact match"]["caption"]
  np.testing.assert_allclose(exact, 100 / 3)  # one of three test images is of a white 7 alone
  assert any("vqa: accuracy: prismer" in sentence for sentence in summary["conclusions"])
  table = (tmp_path / "results.md").read_text()
  assert "Ablation of experts: parameters and time relative to prismer" in table
  assert "what a question asks for" in table
  drawn = figures.draw(config, material, planned, found, tmp_path)
  assert set(drawn) == {"curves.png", "pictures.png", "attention.png", "ablation_experts.png"}
  titles = [axes.get_title() for axes in drawn["pictures.png"].axes[:4]]
  assert titles == ["image", "edge", "depth", "seg"]
  results = json.loads((tmp_path / "prismer" / "vqa_results.json").read_text())
  assert set(results[0]) == {"question_id", "answer"}


def test_one_image_has_no_cider():
  test = sets.Test(np.arange(1), references=(("A dog runs .",),))
  scores = asked.score({"caption": test}, {"caption": [["A dog runs."]]})["scores"]
  assert scores["exact match"] == {"caption": [100.0]}
  assert "CIDEr-D" not in scores


def test_data_sets_in_files(tmp_path):
  for name in ("Images/a.jpg", "Images/b.jpg", "Images/c.jpg", "vqav2/a.jpg", "vqav2/b.jpg"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (30, 20), "red").save(tmp_path / name)
  entries = [
    {"filename": f"{n}.jpg", "split": s, "sentences": [{"raw": "A dog ."}, {"raw": "A pet ."}]}
    for n, s in (("a", "train"), ("b", "val"), ("c", "test"))
  ]
  (tmp_path / "dataset_small.json").write_text(json.dumps({"images": entries}))
  folder = str(tmp_path)
  options = override(TINY, dataset="karpathy", data_dir=folder, variants=("prismerz",), experts=())
  found = load(options)
  assert found.in_memory
  assert found.train["rgb"].shape == (1, 27, 27, 3)
  assert found.train["caption/count"].tolist() == [2]
  assert found.tests["caption"].references == (("A dog .", "A pet ."),)
  answers = [
    {"dataset": "vqa", "image": f"{n}.jpg", "question": "Is it red?", "answer": "yes", "weight": w}
    for n, w in (("a", 0.5), ("b", 1))
  ]
  test = [{"dataset": "vqa", "image": "a.jpg", "question": "What is it?", "question_id": 7}]
  for name, content in (
    ("vqav2_train_val", answers),
    ("vqav2_test", test),
    ("answer_list", ["yes", "no"]),
  ):
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
  questions = override(options, dataset="vqav2", validation_images=1)
  parts = read_sets(questions)
  assert [len(parts[part]) for part in ("train", "validation", "test")] == [1, 1, 1]
  assert parts["train"].weights.tolist() == [0.5]
  found = load(questions)
  assert found.tests["vqa"].references == ()
  assert found.tests["vqa"].ids == (7,)
  labelled = override(options, experts=("edge",), variants=("prismer",), labels=folder)
  (tmp_path / "edge/Images").mkdir(parents=True)
  with pytest.raises(FileNotFoundError, match=r"there is no label .*edge/Images/\w.png"):
    load(labelled)
  for name in "abc":
    Image.new("L", (29, 20)).save(tmp_path / f"edge/Images/{name}.png")
  with pytest.raises(ValueError, match=r"edge/Images/\w.png.*29x20, and its image 30x20"):
    load(labelled)


@pytest.fixture
def photos(tmp_path):
  folder = tmp_path / "photos"
  folder.mkdir()
  for name in ("COCO_1_000000000007.jpg", "COCO_1_000000000008.jpg"):
    Image.new("RGB", (30, 20), "blue").save(folder / name)
  (folder / "bad.jpg").write_text("no image")
  return folder


@pytest.fixture(scope="module")
def network(material, tmp_path_factory):
  """A folder like that of a finished training."""
  home = tmp_path_factory.mktemp("trained")
  planned = jobs.plan(TINY, material)["equal", "prismer"]
  outcome = Outcome("prismer", (), {}, [], 1.0, 1.0, 1.0, None, home)
  weights = jax.tree.map(lambda leaf: leaf[None], zeros(planned.what.model.config))
  training.save_weights(home / WEIGHTS, weights, job="prismer")
  (home / "network.json").write_text(json.dumps(planned.job.problem.describe))
  trained.keep(outcome, material)
  return home


def test_commands_speak_of_own_images(photos, network, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(
    Speaker, "captions", lambda self, _, images: [f"A {self.options.prefix}."] * len(images["rgb"])
  )
  asked_of = []

  def answers(self, variables, images, asked, candidates):
    asked_of.append((images["edge"].shape if "edge" in images else None, asked[0], candidates))
    return ["blue"] * len(asked)

  monkeypatch.setattr(Speaker, "answers", answers)
  given = [str(photos), "--checkpoint", str(network)]
  target = tmp_path / "captions.json"
  with pytest.raises(SystemExit) as stop:
    commands.main(["caption", *given, "--json", str(target), "--batch-size", "2"])
  assert stop.value.code == 1
  said = capsys.readouterr().out
  assert "without any (--labels) it is less accurate" in said
  assert "1 image(s) could not be read" in said
  assert "'%s' is no image" % (photos / "bad.jpg") in said
  caption = "A A picture of."
  assert json.loads(target.read_text()) == [
    {"image_id": 7, "caption": caption},
    {"image_id": 8, "caption": caption},
  ]
  (photos / "bad.jpg").unlink()
  commands.main(["experts", str(photos), "--out", str(tmp_path / "labels")])
  choice = speak.NetworkChoice(str(network), labels=str(tmp_path / "labels"))
  found = speak.ask(speak.Ask("what is it", (str(photos),), choice))
  assert [row["answer"] for row in found] == ["blue", "blue"]
  assert asked_of[0][0] == (2, 24, 24, 1)
  assert "2" in asked_of[0][2]
  assert "labels of seg are left out" in capsys.readouterr().out
  described = json.loads((network / "network.json").read_text())
  assert described["tasks"] == ["caption", "vqa"]
  speak._note_untrained(trained.Network(None, None, (), {}, ("caption",)), "vqa")
  assert "trained on caption, not on vqa" in capsys.readouterr().out


def test_convert_there_and_back(network, tmp_path, capsys):
  target = tmp_path / "out.safetensors"
  commands.main(["convert", str(network), "--out", str(target), "--image-size", "36"])
  assert "experts (channels): edge (1), seg (64)" in capsys.readouterr().out
  text = PRESETS["quick"].text
  text = override(text, vocabulary=str(network / "vocabulary"))
  found = trained.load(str(target), text, experts=())
  assert found.speaker.model.config.image_size == 36
  assert found.experts == ("edge", "seg")
  other = override(text, vocabulary=str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"vocab\.json"):
    trained.load(str(target), other)


def test_damaged_files_of_a_training_are_named(network, tmp_path):
  home = tmp_path / "copy"
  shutil.copytree(network, home)
  text = PRESETS["quick"].text
  (home / "features.npz").write_bytes(b"PK")
  with pytest.raises(ValueError, match=r"copy/features\.npz cannot be read"):
    trained.load(str(home), text)
  described = json.loads((home / "network.json").read_text())
  for content, message in (
    ({**described, "config": {"depths": 3}}, r"network\.json describes no Prismer: .*depths"),
    ({"model": "prismer", "config": {}}, r"network\.json lacks candidates, experts, prefix"),
    ([], "is no finished training of Prismer"),
  ):
    (home / "network.json").write_text(json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
      trained.load(str(home), text)


def test_sizes_are_seen_in_a_published_checkpoint():
  config = prismer.Config.base(
    vision_layers=1,
    text_layers=2,
    resampler_layers=1,
    vocab_size=20,
    vision_width=64,
    vision_heads=1,
    text_width=64,
    text_heads=1,
    text_mlp_width=8,
    experts={"depth": 1, "obj_detection": 64},
  )
  found = config_of(prismer.to_published(zeros(config)), "it")
  assert found == config
  with pytest.raises(ValueError, match="it is no checkpoint of Prismer: it has no expert_encoder"):
    config_of({}, "it")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["captoin"], "there is no command 'captoin'; there are train, caption"),
    (["caption", "/nowhere.jpg", "--checkpoint", "/nowhere"], "checkpoint: there is no /nowhere"),
    (
      ["caption", "a.jpg", "--checkpoint", "/nowhere", "--min-length", "21"],
      "min_length must be from 0 to max_length=20, got 21",
    ),
    (["caption", "a.jpg", "--checkpoint", ".", "--prefix", "A"], "prefix is for a published file"),
    (
      ["caption", "a.jpg", "--checkpoint", ".", "--vocabulary", "."],
      "vocabulary is for a published file",
    ),
    (["convert", ".", "--out", "x.safetensors"], r"\. is no finished training of Prismer"),
    (["ask", "?", "a.jpg", "--checkpoint", "/nowhere"], "question must have words"),
    (["experts", "/nowhere", "--out", "out"], "images: there is no /nowhere"),
    (["experts", ".", "--out", "o", "--experts", "depth"], "'depth' is not built in"),
    (["experts", ".", "--out", "o", "--experts", "depht"], "'depht' is not known"),
    (["convert", "/nowhere", "--out", "x.bin"], "there is no /nowhere"),
  ],
)
def test_bad_arguments_of_commands(arguments, message):
  with pytest.raises(SystemExit, match=message):
    commands.main(arguments)


def test_a_stop_and_numbers_that_are_none_end_in_one_line(monkeypatch, capsys):
  options, _ = commands.COMMANDS["experts"]

  def stopped(config):
    raise KeyboardInterrupt

  monkeypatch.setitem(commands.COMMANDS, "experts", (options, stopped))
  with pytest.raises(SystemExit, match="130"):
    commands.main(["experts", ".", "--out", "o"])
  assert "Interrupted." in capsys.readouterr().out
