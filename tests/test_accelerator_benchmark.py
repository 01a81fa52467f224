"""The script for accelerators, at the smallest sizes."""

import json

import pytest

from benchmarks.accelerator import __main__ as script
from benchmarks.accelerator.config import Config
from benchmarks.accelerator.measure import Program, timed


def test_a_group_of_steps_is_measured_and_what_has_no_time_left_is_named(tmp_path, capsys):
  options = {"tiny": True, "networks": ("mlp",), "methods": ("pcgrad",), "rounds": 1, "threads": 1}
  config = Config(
    out=tmp_path / "found.json", parts=("steps",), tasks=(2, 3), minutes=0.01, **options
  )
  script.main(config)
  found = json.loads(config.out.read_text())
  assert found["platform"] == "cpu"
  (group,) = found["groups"]  # the first starts at once, the others too late
  rows = {row["program"]: row for row in group["rows"]}
  assert list(rows) == ["plain", "pcgrad", "auto_lambda", "uncertainty", "gradnorm"]
  assert rows["plain"]["ratio"] == 1
  for row in rows.values():
    assert 0 < row["fastest"] <= row["seconds"] <= row["slowest"]
    assert row["flops"] > 0
    assert row["argument_bytes"] > 0
  assert len(found["left"]) == 3
  assert "bfloat16, T = 3" in found["left"][-1]
  printed = capsys.readouterr().out
  assert "| pcgrad |" in printed
  assert "No time was left for" in printed


def test_a_program_that_fails_is_a_row_and_the_others_are_timed():
  def broken(x):
    raise RuntimeError("does not fit")

  makers = {
    "plain": lambda: Program(lambda x: (x + 1,), 1.0),
    "broken": lambda: Program(broken, 1.0),
  }
  rows = timed(makers, rounds=1, threads=1)
  assert rows[0]["ratio"] == 1
  assert rows[1] == {"program": "broken", "failure": "RuntimeError: does not fit"}


def test_an_unknown_part_is_named_with_those_there_are():
  with pytest.raises(SystemExit, match="--parts speed: unknown; known ones: agreement, steps"):
    script.main(Config(parts=("speed",)))
