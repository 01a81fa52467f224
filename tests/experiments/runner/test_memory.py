"""What a training needs of the device's memory is known before its first step."""

import jax
import jax.numpy as jnp
import pytest

from experiments.runner import memory
from experiments.runner.run import Runner


def test_arguments_results_and_what_lies_between_are_counted():
  shape = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
  square = jax.jit(lambda x: jnp.sin(x @ x) @ x).lower(shape).compile()
  needed = memory.check_memory(square)
  assert 12e6 <= needed <= 20e6  # argument, result, at least one product
  assert needed < memory.bytes_at_hand() < float("inf")


def test_a_training_that_does_not_fit_is_named_before_its_first_step(tmp_path, job, monkeypatch):
  monkeypatch.setattr(memory, "bytes_at_hand", lambda: 10.0)
  with pytest.raises(MemoryError, match=r"needs 0\.0 GiB .* Lower --batch-size, the size of"):
    Runner(tmp_path).run(job())
  assert not list(tmp_path.glob("*/metrics.jsonl"))


def test_one_that_takes_much_of_the_memory_says_so(tmp_path, job, monkeypatch, capsys):
  monkeypatch.setattr("experiments.runner.calls.bytes_at_hand", lambda: 2.0)
  Runner(tmp_path).run(job(epochs=1))
  assert "line: takes 0.0 of the device's 0.0 GiB" in capsys.readouterr().out
