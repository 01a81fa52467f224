"""Options, folders of configurations, the command line, and what is said of figures."""

import dataclasses
import json
import os
import signal
import tempfile
import zipfile

import PIL
import pytest

from experiments.runner.command_line import command_line
from experiments.runner.config import (
  NetworkOptions,
  RunOptions,
  TrainingOptions,
  flat,
  identity_of,
  override,
  report_folder,
)
from experiments.runner.report import compared
from jaxmtl import models, training


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of nothing."""

  preset: str = "quick"
  methods: tuple[str, ...] = ("equal",)
  network: NetworkOptions = NetworkOptions()
  training: TrainingOptions = TrainingOptions()
  run: RunOptions = RunOptions()


PRESETS = {"quick": Config(), "long": override(Config(), preset="long", epochs=99, workdir="w")}


def test_an_option_is_found_in_whichever_part_it_is():
  config = override(Config(), epochs=5, seeds=1, methods=("dwa",))
  assert (config.training.epochs, config.run.seeds, config.methods) == (5, 1, ("dwa",))
  assert flat(config)["learning_rate"] == 0.01
  with pytest.raises(TypeError, match="no option 'epoch' in Config"):
    override(Config(), epoch=5)
  assert "workdir" not in identity_of(config.run, config.training)
  assert "epochs" not in identity_of(config.training, without=("epochs",))


def test_an_initialiser_is_of_what_a_network_is():
  plain = NetworkOptions("vgg16", 0.5)
  drawn = NetworkOptions("vgg16", 0.5, initializer="xavier")
  assert drawn.identity == {**plain.identity, "initializer": "xavier"}
  assert drawn.describe() == "vgg16 of width 0.5, initialised as by xavier"
  assert drawn.build().kernel_init is models.INITIALIZERS["xavier"]
  assert drawn.dense(3).kernel_init is models.INITIALIZERS["xavier"]
  plain.check()
  drawn.check()
  NetworkOptions("vit_b16", None).check()
  with pytest.raises(ValueError, match=r"initializer must be None for vit_b16, .* got 'torch'"):
    NetworkOptions("vit_b16", None, initializer="torch").check()


def test_dropout_is_of_backbones_that_have_it():
  plain, dropped = NetworkOptions("resnet18", 0.5), NetworkOptions("resnet18", 0.5, dropout=0.5)
  assert dropped.identity == {**plain.identity, "dropout": 0.5}
  assert (plain.build().dropout, dropped.build().dropout) == (0, 0.5)
  dropped.check()
  NetworkOptions("vit_b16", None, dropout=0.1).check()
  with pytest.raises(ValueError, match=r"dropout must be 0 for vgg16, which has none, got 0\.5"):
    NetworkOptions("vgg16", 0.5, dropout=0.5).check()
  with pytest.raises(ValueError, match=r"dropout must be 0 for resnet50, .* got 0\.5"):
    NetworkOptions("resnet50", 0.5, dropout=0.5).check()
  with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
    NetworkOptions("resnet18", 0.5, dropout=1.0).check()


def test_what_no_option_can_be_is_told_by_its_name():
  with pytest.raises(ValueError, match=r"width must be whole for convnet4, .* got 0\.25"):
    NetworkOptions("convnet4", 0.25).check()
  NetworkOptions("resnet18", 0.25).check()
  with pytest.raises(ValueError, match="width must be positive, at most 10000, got 1000000000"):
    NetworkOptions(width=1e9).check()
  with pytest.raises(ValueError, match="seed must not be negative, got -1"):
    RunOptions(seed=-1).check()


def test_another_configuration_has_its_tables_beside(tmp_path, capsys):
  assert report_folder(Config(), tmp_path) == tmp_path
  # What changes no result is no other configuration.
  same = override(Config(), workdir="elsewhere", checkpoint_every="9", mesh="1x1", preset="x")
  assert report_folder(same, tmp_path) == tmp_path
  other = report_folder(override(Config(), learning_rate=0.2), tmp_path)
  assert other == tmp_path / "learning_rate=0.2"
  assert "its tables go to" in capsys.readouterr().out
  assert json.loads((other / "config.json").read_text())["learning_rate"] == 0.2
  assert json.loads((tmp_path / "config.json").read_text())["learning_rate"] == 0.01
  many = report_folder(override(Config(), methods=tuple("abcdefghijklmnopqrstuvwxyz")), tmp_path)
  assert many.name.startswith("methods=a+b+c")
  long = report_folder(override(Config(), methods=("a" * 80,)), tmp_path)
  assert long.name.startswith("configuration-")


def test_a_folder_belongs_to_its_experiment(tmp_path):
  assert report_folder(Config(), tmp_path) == tmp_path
  file = tmp_path / "config.json"
  saved = json.loads(file.read_text())
  ours = saved["experiment"]
  file.write_text(json.dumps(saved | {"experiment": "maxl"}))
  before = file.read_bytes()
  message = rf"workdir: {tmp_path} is of the experiment maxl, not of {ours}; name another folder"
  with pytest.raises(ValueError, match=message):
    report_folder(override(Config(), learning_rate=0.2), tmp_path)
  assert file.read_bytes() == before
  file.write_text("[1]")
  with pytest.raises(ValueError, match=f"is of something else, not of {ours}"):
    report_folder(Config(), tmp_path)
  # One of before experiments were named.
  del saved["experiment"]
  file.write_text(json.dumps(saved))
  assert report_folder(Config(), tmp_path) == tmp_path
  assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_where_nothing_can_be_written_a_run_is_still_reported(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(os, "access", lambda *_: False)
  with pytest.raises(PermissionError, match="workdir: nothing can be written"):
    report_folder(Config(), tmp_path)
  monkeypatch.undo()
  report_folder(Config(), tmp_path)
  monkeypatch.setattr(os, "access", lambda *_: False)
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  folder = report_folder(Config(), tmp_path)
  assert folder.is_dir()
  assert folder != tmp_path
  assert (
    f"Nothing can be written in {tmp_path}; tables and figures go to" in capsys.readouterr().out
  )


def test_numbers_that_are_none_are_named_for_every_option():
  for number in ("nan", "inf", "-inf"):
    with pytest.raises(SystemExit, match=f"error: width must be finite, got {number}"):
      command_line(lambda config: None, {"a": Config()}, "a", [f"--width={number}"])


def test_the_command_line_takes_options_of_all_parts(capsys):
  seen = []
  command_line(seen.append, PRESETS, "prog", ["--preset", "long", "--seeds", "7", "--width", "4"])
  (config,) = seen
  assert (config.training.epochs, config.run.seeds, config.network.width) == (99, 7, 4)
  assert "s in all." in capsys.readouterr().out


@pytest.mark.parametrize(
  ("error", "message"),
  [
    (ValueError("epochs must be at least 1, got 0."), "error: epochs must be"),
    (FileNotFoundError("there is no data"), "error: there is no data"),
    (OSError(28, "No space left on device"), "error: .*No space left"),
    (training.TrainingDiverged("the loss is nan"), "error: the loss is nan"),
    (RuntimeError("out of memory\nat 0x7f"), r"error: RuntimeError: out of memory$"),
    (zipfile.BadZipFile("bad magic number"), "error: BadZipFile: bad magic number"),
    (EOFError(), "error: EOFError"),
    (ImportError("needs pyarrow"), "error: ImportError: needs pyarrow"),
    (PIL.UnidentifiedImageError("'a.png' is no image"), "error: 'a.png' is no image"),
  ],
)
def test_what_does_not_fit_ends_with_one_line(error, message):
  def run(config):
    raise error

  with pytest.raises(SystemExit, match=message):
    command_line(run, PRESETS, "prog", [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_stop_ends_with_one_line(number, code, capsys):
  def run(config):
    signal.raise_signal(number)
    if training.stop_requested():
      raise training.Stopped("equal was stopped after step 12 (epoch 2 of 6).")

  with pytest.raises(SystemExit) as stop:
    command_line(run, PRESETS, "prog", [])
  assert stop.value.code == code
  said = capsys.readouterr().out
  assert said == (
    "equal was stopped after step 12 (epoch 2 of 6). The same command goes on from there.\n"
  )


def test_a_second_interrupt_does_not_wait(capfd):
  def run(config):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)

  with pytest.raises(SystemExit) as stop:
    command_line(run, PRESETS, "prog", [])
  assert stop.value.code == 130
  said = capfd.readouterr()
  assert said.err == "Stopping after what is under way; Ctrl-C again ends at once.\n"
  assert "Interrupted. The same command goes on from there." in said.out


def test_a_sentence_says_what_the_numbers_say():
  missing = compared("accuracy", "a", [90, None], "b", [91, 92])
  assert missing == (
    "accuracy: a -, b 91.5 ± 0.7; a figure is missing, so that no difference is known."
  )
  within = compared("accuracy", "a", [90, 94], "b", [91, 92], " %")
  assert within == (
    "accuracy: a 92.0 ± 2.8 %, b 91.5 ± 0.7 %; difference 0.5 ± 2.1 over 2 seeds, no more "
    "than seeds may differ by chance (95 %)."
  )
  few, many = [91.6, 92.4], [91.6, 92.4, 91.9, 92.1, 92.0]
  assert "2 seeds, no more than" in compared("accuracy", "a", few, "b", [91, 91])
  assert "5 seeds, more than" in compared("accuracy", "a", many, "b", [91] * 5)
  assert "one seed: no spread is known" in compared("accuracy", "a", [95], "b", [91])
