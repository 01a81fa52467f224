"""What every experiment does: writes what it promises, goes on, names bad options, has a help."""

import dataclasses
import importlib
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple

import pytest

from experiments.runner.config import override
from jaxmtl import training

# test_dense_prediction.py has heads as they are.
pytestmark = pytest.mark.usefixtures("one_layer", "one_convolution")


class Case(NamedTuple):
  """A small configuration of an experiment.

  Attributes:
    small: options, beside the first preset's.
    bad: options that do not fit, with what the error says.
    option: one that its help must show.
    files: what it writes beside config.json, results.json and results.md.
    rows: names of the rows; none where its own tests train it and look at what it promises.
    wrong: arguments that do not fit, with what the error says.
  """

  small: dict[str, Any]
  bad: tuple[tuple[dict[str, Any], str], ...]
  option: str
  files: tuple[str, ...] = ()
  rows: tuple[str, ...] = ()
  wrong: tuple[list[str], str] = (["--seeds", "0"], "seeds must be at least 1")


DIGITS = {
  "tasks": ("left", "noise"),
  "train_images": 60,
  "image_size": 10,
  "width": 2,
  "epochs": 2,
  "batch_size": 20,
  "seeds": 2,
}

EXPERIMENTS = {
  "benchmark": Case(
    small={**DIGITS, "methods": ("dwa+cagrad",)},
    files=("heat_map.png", "trade_off.png", "cost.png", "curves.png"),
    rows=("single task", "dwa+cagrad"),
    bad=(
      ({"methods": ("equal", "pcgrat")}, "'pcgrat' is not known. Known weightings: .*dwa.*pcgrad"),
      ({"methods": ("pcgrad+dwa",)}, r"must be weighting\+aggregator: dwa\+pcgrad; pcgrad is"),
      ({"methods": ("dwa+equal",)}, "dwa is a weighting, equal a weighting"),
      ({"methods": ("equal+dgr",)}, "python -m experiments.dgr"),
      ({"methods": ("dwa+",)}, "is not known"),
      ({"backbone": "resnet33"}, "known: .*resnet32"),
      ({"architecture": "hsp"}, "'hsp' is not known; known: hps"),
      ({"image_size": 9}, "size must be from 10"),
      ({"not_counted": ("left", "noise")}, "a task that counts"),
      ({"epochs": 0}, "epochs must be at least 1"),
      ({"checkpoint_every": "often"}, "checkpoint_every: a cadence is a number of epochs"),
      ({"dataset": "./none.csv"}, "there is no table 'none.csv'"),
      ({"dataset": "./none/"}, "there is no folder 'none'"),
      ({"regression": ("age",)}, "regression is for a table of one's own, got dataset='digits'"),
      ({"tasks": ("left", "age")}, r"tasks \['age'\] are not known; the data have left, right"),
      ({"mesh": "3"}, "mesh must be runs x data, as in 2x4, got '3'"),
      ({"patience": 0}, "patience must be at least 1 epoch, got 0"),
      ({"patience": 2, "evaluate_every": "2"}, "evaluate_every must be 1 with a patience"),
      ({"restart_from": "nowhere"}, "restart_from: 'nowhere' is no training with a checkpoint"),
    ),
    option="--not-counted",
  ),
  "auto_lambda": Case(
    small={
      **DIGITS,
      "methods": ("auto_lambda",),
      "auxiliary_methods": ("gcs",),
      "primaries": ("left",),
      "weight_learning_rate": 3e-4,
    },
    bad=(
      ({"primaries": ("sum",)}, r"primaries \['sum'\] are not among the tasks"),
      ({"patience": 2, "evaluate_every": "2"}, "evaluate_every must be 1 with a patience"),
      ({"patience": 2, "dataset": "cifar100"}, "patience is not for domains"),
      ({"methods": ("auto_lamda",)}, "method 'auto_lamda' is not known"),
      ({"tasks": ("noise",), "primaries": ()}, "needs a task that is not noise"),
      ({"tasks": ("left", "sun")}, r"tasks \['sun'\] are not among the data's: left, right"),
      ({"num_sampled": 3}, "num_sampled must be from 1 to num_tasks=2, got 3"),
      ({"weight_learning_rate": 0.0}, "weight_learning_rate must be positive, got 0"),
      ({"epochs": 0}, "epochs must be at least 1, got 0"),
      ({"architecture": "hsp"}, "'hsp' is not known; known: hps"),
      ({"dataset": "cifar100", "architecture": "mtan"}, "domains share one backbone"),
      ({"dataset": "mnist", "data_dir": "/nowhere"}, "nowhere"),
    ),
    option="--weight-learning-rate",
  ),
  "binary_labels": Case(
    small={
      "label_kinds": ("none", "binary"),
      "task_weights": ("0.5,0.5",),
      **{"dim": 24, "decoder_side": 8, "decoder_width": 4, "aggregator": "metabalance"},
      **{"fraction": 0.1, "width": 2, "epochs": 2, "batch_size": 54, "seeds": 2},
    },
    bad=(
      ({"dataset": "digit"}, "digits"),
      ({"aggregator": "pcgrat"}, "known ones: .*pcgrad"),
      ({"aggregator": "dwa"}, "aggregator 'dwa' is not known"),
      ({"aggregator": "cagrad:cc=1"}, "cagrad has no option 'cc'"),
      ({"task_weights": ("nan,0.5",)}, "task_weights must be positive and sum to 1"),
      ({"backbone": "resnet33"}, "known: .*resnet32"),
      ({"fraction": 0.001}, "0.001"),
      ({"task_weights": ("0.5",)}, "0.5,0.5"),
      ({"task_weights": ("0.5,0.6",)}, "sum to 1"),
      ({"label_kinds": ()}, "label_kinds must name at least one"),
      ({"decoder_side": 12}, "decoder_side must be one of .*got 12"),
      ({"milestones": (0.5, 1.0)}, "milestones must be shares between 0 and 1"),
      ({"crop_padding": -1}, "crop_padding must not be negative"),
      ({"epochs": 0}, "epochs must be at least 1"),
      ({"pretrained": "/nowhere.pth"}, "there is no /nowhere.pth"),
      ({"dataset": "cifar100", "data_dir": "/nowhere"}, "/nowhere"),
    ),
    option="--task-weights",
  ),
  "reco": Case(
    small={
      **{"methods": ("cutmix+reco",), "labelled": (4,), "epochs": 2, "seeds": 2},
      **{"backbone": "one_stage", "features": 4, "dimension": 4, "rates": (1,), "batch_size": 2},
      **{"train_images": 10, "test_images": 3, "validation_images": 2, "height": 16},
      **{"width_in_pixels": 16, "steps_per_epoch": 3, "num_queries": 4, "num_negatives": 4},
      **{"jitter": False, "blur": False},
    },
    files=("curves.png", "pictures.png", "queries.png", "relations.png"),
    rows=("cutmix+reco",),
    bad=(
      ({"methods": ("classmax",)}, "method must be supervised, mean_teacher, .* got 'classmax'"),
      ({"methods": ("classmix+recco",)}, r"perhaps with \+reco, got"),
      ({"methods": ("classmix+reco:num_query=3",)}, "reco has no option 'num_query'"),
      ({"methods": ("classmix+reco:temperature=0",)}, "temperature must be above 0, got 0"),
      ({"methods": ("classmix+reco:num_queries=.5",)}, "num_queries cannot be 0.5"),
      ({"methods": ("classmix+reco:keys=rare",)}, "keys must be related or random, got 'rare'"),
      ({"methods": ("supervised:unlabelled=.5",)}, "supervised has no option 'unlabelled'"),
      ({"methods": ("classmix:unlabelled=2",)}, "unlabelled must be above 0 and at most 1, got 2"),
      ({"weak_threshold": 1.5}, "weak_threshold must be between 0 and 1, got 1.5"),
      ({"weak_threshold": 0.98}, "weak_threshold must not be above strong_threshold, 0.97, got"),
      ({"learning_rate": float("inf")}, "learning_rate must be positive and finite, got inf"),
      ({"labelled": ()}, "labelled or shares must name a setting"),
      ({"labelled": (-1,)}, "labelled must not be negative"),
      ({"labelled": (11,)}, "labelled, at_least: count must be between 1 and 10"),
      ({"labelled": (9,)}, "at least 2 must be left for cutmix"),
      ({"labelled": (0,)}, r"labelled is \(0,\), all images, which leaves none to cutmix"),
      ({"momentum": -0.5}, "momentum must be at least 0 and below 1, got -0.5"),
      ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1"),
      ({"at_least": 12}, "0 of 10 images have 12 classes or more"),
      ({"labelled": (), "shares": (2.0,)}, "shares must be between 0 and 1, got"),
      ({"decay": 1.0}, "decay must be at least 0 and below 1, got 1"),
      ({"batch_size": 1}, "batch_size must be at least 2 to mix images, got 1"),
      ({"scale_range": (0.0, 1.0)}, "scale_range must be two scales above 0"),
      ({"dataset": "nowhere"}, "dataset must be rooms, digits, pascal, .*got 'nowhere'"),
      ({"dataset": "pascal"}, "data_dir must name the folder of pascal, got None"),
      ({"dataset": "sun", "data_dir": "/nowhere"}, "nowhere"),
    ),
    option="--weak-threshold",
    wrong=(["--labelled", "3", "--shares", "7"], "shares must be between 0 and 1"),
  ),
  "prismer": Case(
    small={"train_images": 4, "test_images": 2, "validation_images": 2, "image_size": 24},
    bad=(
      ({"variants": ("prismr",)}, "'prismr' must begin with prismer or prismerz"),
      ({"variants": ()}, "variants must name at least one"),
      ({"methods": ("pcgrat",)}, "'pcgrat' is not known"),
      ({"dataset": "flickr"}, "dataset must be scenes, karpathy.*got 'flickr'"),
      ({"dataset": "coco"}, "data_dir must name the folder of coco, got None"),
      ({"dataset": "coco", "data_dir": "/nowhere"}, "labels must name the folder of experts'"),
      (
        {"dataset": "coco", "data_dir": "/nowhere", "variants": ("prismerz",)},
        "/nowhere/coco_karpathy_train.json",
      ),
      ({"labels": "/nowhere"}, "labels is not for scenes"),
      ({"experts": ("normal",)}, r"experts \['normal'\] are not known; there are depth, edge"),
      ({"vocabulary": "/nowhere"}, "there is no '/nowhere/vocab.json'"),
      ({"checkpoint": "/nowhere"}, "checkpoint: there is no /nowhere"),
      ({"clip": "/nowhere"}, "clip and roberta go together"),
      ({"width": 12}, "width must be a multiple of 8"),
      ({"vocab_size": 100}, "vocab_size must be at least 261"),
      ({"max_length": 3}, "min_length must be from 0 to max_length=3"),
      ({"augment": True}, "augment is not for scenes"),
      ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
    ),
    option="--ablations",
  ),
  "toy": Case(
    small={
      **{"methods": ("equal", "gls", "mean_tasks"), "learning_rate": 0.1},
      **{"steps": 20, "records": 5},
    },
    files=("trajectories.png", "paths/equal.npz"),
    rows=("equal", "mean_tasks"),
    bad=(
      ({"methods": ("equal", "pcgrat")}, "'pcgrat' is not known.*pcgrad"),
      ({"methods": ("gls",)}, "none of .*'gls'.* can take part"),
      ({"steps": 21}, "steps must be a multiple of records"),
      ({"scale_first": 0.0}, "scale_first must be positive"),
      ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
      ({"methods": ()}, "methods must name at least one"),
    ),
    option="--scale-first",
    wrong=(["--records", "0"], "records must be at least 1"),
  ),
  "dense_prediction": Case(
    small={
      **{"tasks": ("depth", "segmentation"), "methods": ("auto_lambda",), "rates": (1,)},
      **{
        "train_images": 8,
        "test_images": 4,
        "validation_images": 4,
        "height": 16,
        "width_in_pixels": 24,
      },
      **{"backbone": "one_stage", "head_features": 2, "epochs": 2, "seeds": 2},
    },
    files=("weights.png", "relations.png", "pictures.png"),
    rows=("single task", "auto_lambda"),
    bad=(
      (
        {"dataset": "nyu"},
        "dataset must be rooms, nyuv2, .*or the path of a folder of one's own, got 'nyu'",
      ),
      ({"dataset": "nyuv2"}, "data_dir must name the folder of nyuv2, got None"),
      ({"dataset": "nyuv2", "data_dir": "/nowhere"}, "nowhere"),
      ({"tasks": ("depth", "pose")}, r"tasks \['pose'\] are not among the data's: segmentation"),
      ({"primaries": ("noise",)}, r"primaries \['noise'\] are not among the tasks"),
      ({"architecture": "split"}, "'split' is not known; known: hps"),
      ({"rates": (0,)}, r"rates must be at least 1 each, got \(0,\)"),
      ({"scales": (0.0, 1.0)}, "scales must be above 0 each"),
      ({"crop": (0, 8)}, "crop must be at least 1 pixel"),
      ({"head_features": 0}, "head_features must be at least 1"),
      ({"height": 0}, "height must be at least 1"),
      ({"methods": ("auto_lamda",)}, "method 'auto_lamda' is not known"),
      ({"backbone": "resnet33"}, "known: .*resnet32"),
    ),
    option="--head-features",
  ),
  "dgr": Case(
    small={
      **DIGITS,
      "tasks": ("parity",),
      "methods": ("equal",),
      "compared": (),
      "hidden": 0,
      "weights": (0.1, 1e-3),
      "dummy_counts": (1, 2),
      "num_dummies": 2,
      "probe_images": 30,
    },
    bad=(
      ({"methods": ("cagrad",)}, "must start with equal"),
      ({"methods": ("equal", "pcgrat")}, "'pcgrat' is not known"),
      ({"compared_on": ("dwa",)}, r"compared_on has \['dwa'\]"),
      ({"num_dummies": 3}, "dummy_counts with num_dummies=3"),
      ({"weight": None, "weights": ()}, r"the sweep needs weights, got \(\)"),
      (
        {"weight": None, "weights": (0.1, -1.0)},
        r"weights must not be negative, got \(0.1, -1.0\)",
      ),
      ({"weight": -1.0}, "weight must not be negative, got -1.0"),
      ({"tasks": ("left", "left")}, "tasks must be different ones, got left, left"),
      ({"compared": ("sam", "sam")}, "compared must be different ones, got sam, sam"),
      ({"dummy_counts": (0, 2)}, "dummy_counts must be at least 1 each"),
      ({"estimator": "guess"}, "estimator must be one of exact, autodiff"),
      ({"radius": 0.0}, "radius must be positive"),
      ({"hidden": -1}, "hidden must not be negative"),
      ({"probe_images": 0}, "probe_images must be at least 1"),
      ({"tasks": ("age",)}, r"tasks \['age'\] are not among the data's: left"),
      ({"dataset": "utkface", "data_dir": "nowhere"}, "no faces of UTKFace"),
    ),
    option="--dummy-counts",
  ),
  "fastcar": Case(
    small={
      **{"approaches": ("fastcar_scaled",), "scale": 400.0, "limit": 1e9},
      **{"width": 2, "epochs": 2, "batch_size": 256, "seeds": 2},
    },
    bad=(
      ({"dataset": "steel", "data_dir": "/nowhere"}, "/nowhere"),
      ({"image_size": 32}, "image_size is for --dataset steel, got 32"),
      ({"dataset": "steel", "image_size": -1}, "image_size must be at least 1, got -1"),
      ({"approaches": ()}, "approaches must name some of fastcar, "),
      ({"approaches": ("plain", "plain")}, "none twice"),
      ({"gap": -1.0}, "gap must be positive"),
      ({"limit": 0.0}, "limit must be positive"),
      ({"max_trials": 0}, "max_trials must be at least 1"),
      ({"width": 0}, "width must be positive"),
      ({"epochs": 0}, "epochs must be at least 1"),
      ({"patience": 0}, "patience must be at least 1"),
      ({"schedule": "plateau", "evaluate_every": "2"}, "evaluate_every must be 1"),
    ),
    option="--split",
  ),
  "grid": Case(
    small={
      "architectures": ("hps",),
      "methods": ("EW", "CAGrad"),
      "decoders": (1,),
      "backbone": "one_stage",
      "epochs": 2,
      "batch_size": 256,
    },
    bad=(
      ({"methods": ("EW", "pcgrat")}, "'pcgrat' is not known"),
      ({"methods": ()}, "methods must name at least one"),
      ({"architectures": ("hps", "hps")}, "none twice"),
      ({"architectures": ("hsp",)}, "unknown architecture 'hsp'"),
      ({"architectures": ("mtan",)}, "at least two stages, got OneStage"),
      ({"decoders": (1, 3)}, r"decoders must be 1 or 2, got \[3\]"),
      ({"num_experts": 0}, "num_experts must be at least 1"),
      ({"epochs": 0}, "epochs must be at least 1"),
      ({"pretrained": "experiments"}, "is no finished training of ours"),
      ({"dataset": "steel", "data_dir": "/nowhere"}, "/nowhere"),
    ),
    option="--architectures",
  ),
  "maxl": Case(
    small={
      "methods": ("single", "kmeans"),
      "psi": ("total:10",),
      "fraction": 0.1,
      "width": 2,
      "head_width": 4,
      "epochs": 2,
      "batch_size": 54,
      "latent": 3,
      "auto_encoder_epochs": 1,
      "tsne_images": 40,
      "seeds": 2,
      "checkpoint_every": "1",
    },
    bad=(
      ({"dataset": "digit"}, "digits"),
      ({"dataset": "experiments"}, "which MAXL does not take; benchmark"),
      ({"dataset": "ucf101", "data_dir": "/nowhere"}, "/nowhere.*classInd"),
      ({"primary": (3,)}, "different levels of 'digits', which has 2, 10 classes"),
      ({"psi": ("5,5,5",)}, r"number for each of the 2 primary classes .* got 3 in '5,5,5'"),
      ({"psi": ("0",)}, "psi takes values like 5, total:100 or 3,3,4"),
      ({"psi": ("total:1",)}, "at least the number of primary classes, 2, got 1"),
      ({"psi": ("5", "5")}, "psi must be different hierarchies"),
      (
        {"methods": ("human",), "psi": ("3",)},
        r"method human needs .* 'digits' has \[10\], psi \[\[6\]\]",
      ),
      ({"methods": ("maxl", "maxl")}, "methods must be different ones"),
      ({"combinations": ("2",)}, "combinations take the place of methods"),
      ({"methods": (), "psi": (), "combinations": ("2:7",)}, "different levels .* got '2:7'"),
      ({"methods": (), "psi": (), "combinations": ("2",)}, "include one with auxiliary levels"),
      ({"epochs": 0}, "epochs must be at least 1, got 0"),
      ({"halve_every": 0}, "halve_every must be at least 1, got 0"),
      ({"entropy_weight": -1.0}, "entropy_weight must not be negative, got -1"),
      ({"gamma": 0.5}, "gamma must be 0 or at least 1, got 0.5"),
      ({"backbone": "vgg16", "width": 0.1}, "max_pool needs maps of at least 2x2"),
      ({"backbone": "vgg61"}, "known: .*vgg16"),
    ),
    option="--entropy-weight",
  ),
}


def experiment(name):
  return importlib.import_module(f"experiments.{name}.run")


def small(name, **changes):
  first = next(iter(experiment(name).PRESETS.values()))
  return override(first, **{**EXPERIMENTS[name].small, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Runs each experiment once, when it is first asked for."""
  found = {}

  def run(name):
    if name not in found:
      folder = tmp_path_factory.mktemp(name)
      found[name] = folder, experiment(name).run(small(name), folder)
    return found[name]

  return run


@pytest.fixture(params=EXPERIMENTS)
def name(request):
  return request.param


@pytest.mark.parametrize("name", [name for name, case in EXPERIMENTS.items() if case.rows])
def test_it_writes_what_it_promises_and_trains_nothing_again(name, finished, promised):
  case = EXPERIMENTS[name]
  promised(experiment(name).run, small(name), *finished(name), case.files, case.rows)


def test_a_finished_run_that_cannot_be_written_to_is_reported(finished, capsys, monkeypatch):
  """On a disk of another machine, for example."""
  folder, summary = finished("benchmark")
  before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
  monkeypatch.setattr(os, "access", lambda *_: False)
  monkeypatch.setattr(training, "locked", None)  # which writes a file
  again = experiment("benchmark").run(small("benchmark"), folder)
  assert again["results"] == summary["results"]
  assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
  said = capsys.readouterr().out
  (place,) = re.findall(r"tables and figures go to (\S+?)\.\n", said)
  assert (pathlib.Path(place) / "results.md").exists()
  shutil.rmtree(place)
  assert "Delta" in said


def test_bad_options_raise_before_anything_is_written(name, tmp_path):
  folder = tmp_path / "runs"
  for change, message in EXPERIMENTS[name].bad:
    with pytest.raises((ValueError, OSError), match=message):
      experiment(name).run(small(name, **change), folder)
    assert not folder.exists()


def test_nothing_is_trained_where_nothing_can_be_written(name, tmp_path):
  (tmp_path / "file").write_text("notes")
  with pytest.raises(OSError, match=r"workdir: .*file is a file; name a folder"):
    experiment(name).run(small(name), tmp_path / "file" / "below")


def test_the_command_line(name, capsys):
  module = experiment(name)
  with pytest.raises(SystemExit):
    module.main(["--help"])
  said = " ".join(capsys.readouterr().out.split())
  assert EXPERIMENTS[name].option in said
  about = importlib.import_module(f"experiments.{name}").__doc__.partition("\n\n")[0]
  assert " ".join(about.split()) in said
  arguments, message = EXPERIMENTS[name].wrong
  with pytest.raises(SystemExit) as stop:
    module.main(arguments)
  assert f"error: {message}" in str(stop.value)
  for preset, config in module.PRESETS.items():
    assert config.preset == preset
    assert dataclasses.is_dataclass(config)
