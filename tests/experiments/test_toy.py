"""Toy's own: the problem, its front, the paths, the figure."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.toy import figures, paths, report
from experiments.toy.config import NEED_POSITIVE, Config
from experiments.toy.problem import STARTS, distance_to_front, losses_fn, pareto_front
from experiments.toy.run import run
from jaxmtl import training

SMALL = Config(methods=("equal", "gls", "mean_tasks"), steps=20, records=5, learning_rate=0.1)


def by_hand(x, y):
  """The authors' formulas in plain Python."""
  above, below = max(math.tanh(y / 2), 0), max(math.tanh(-y / 2), 0)
  f1 = math.log(max(abs((-x - 7) / 2 - math.tanh(-y)), 5e-6)) + 6
  f2 = math.log(max(abs((-x + 3) / 2 + math.tanh(-y) + 2), 5e-6)) + 6
  valley = (y + 8) ** 2 / 100 - 20
  return above * f1 + below * ((7 - x) ** 2 / 10 + valley), above * f2 + below * (
    (7 + x) ** 2 / 10 + valley
  )


@jax.jit
def both(point):
  return losses_fn(point), losses_fn(point, 0.1)


@pytest.mark.parametrize("point", [*STARTS, (1.0, -3.0), (-2.5, 0.75)])
def test_losses_are_those_of_the_formulas(point, x64):
  plain, scaled = both(jnp.array(point))
  np.testing.assert_allclose(plain, by_hand(*point), rtol=1e-9)
  np.testing.assert_allclose(scaled, np.array(by_hand(*point)) * [0.1, 1], rtol=1e-9)


def test_losses_at_points_worked_out_on_paper():
  found = jax.jit(losses_fn)
  # Far below, tanh is 1: L1 = (7 - x)^2 / 10 + (y + 8)^2 / 100 - 20.
  np.testing.assert_allclose(found(jnp.array([7.0, -28.0])), [-16, 3.6], rtol=1e-6)
  assert found(jnp.zeros(2)).tolist() == [0, 0]
  # In the first loss' trench the logarithm is cut off, and no gradient is infinite:
  # (-x - 7) / 2 = -1 = tanh(-20).
  trench = jnp.array([-5.0, 20.0])
  assert found(trench)[0] == pytest.approx(math.log(5e-6) + 6)
  assert np.isfinite(jax.jit(jax.jacrev(losses_fn))(trench)).all()


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_front_is_where_theory_puts_it(scale):
  thetas, losses = pareto_front(scale, points=(2201, 111))
  # Between the minima of both parabolas, slightly below -8, where tanh is not quite 1.
  assert thetas[:, 0].min() == pytest.approx(-7)
  assert thetas[:, 0].max() == pytest.approx(7)
  assert (np.abs(thetas[:, 1] + 8.36) < 0.3).all()
  assert (np.diff(losses[:, 0]) >= 0).all()
  assert (np.diff(losses[:, 1]) < 0).all()
  middle = np.array([by_hand(x, -8.36) * np.array([scale, 1]) for x in (-5, 0, 3)])
  np.testing.assert_allclose(distance_to_front(middle, losses), 0, atol=2e-3)


def test_the_distance_is_that_to_the_nearest_part():
  front = np.array([[0.0, 2.0], [0.0, 1.0], [4.0, 0.0]])
  points = np.array([[-3.0, 6.0], [1.0, 1.5], [4.0, 0.0]])
  direction = np.array([4.0, -1.0]) / math.sqrt(17)
  offset = np.array([1.0, 0.5])
  sideways = abs(offset[0] * direction[1] - offset[1] * direction[0])
  np.testing.assert_allclose(distance_to_front(points, front), [5, sideways, 0], atol=1e-12)


def test_results_are_by_start_and_name_what_is_left_out(tmp_path, capsys):
  summary = run(SMALL, tmp_path)
  assert "gls is left out: the geometric mean" in capsys.readouterr().out
  assert list(summary["left_out"]) == ["gls"]
  assert summary["starts"] == [list(start) for start in STARTS]
  assert summary["conclusions"] == [
    "Within 0.1 of the front from 0 of 5 starts: equal, mean_tasks."
  ]
  for row in summary["results"]:
    values = row["values"]
    ends = zip(values["end"]["theta_1"], values["end"]["theta_2"], strict=True)
    found = zip(values["loss"]["first"], values["loss"]["second"], strict=True)
    np.testing.assert_allclose(list(found), [by_hand(*e) for e in ends], rtol=1e-3, atol=1e-3)
    assert len(values["distance"]["front"]) == len(STARTS)


def test_a_stop_between_methods_loses_none(tmp_path, monkeypatch):
  asked = iter([0, 15])
  monkeypatch.setattr(training, "stop_requested", lambda: next(asked))
  with pytest.raises(training.Stopped, match="after 1 of 2 methods"):
    run(SMALL, tmp_path)
  assert "**Partial: 1 of 2 methods.**" in (tmp_path / "results.md").read_text()
  monkeypatch.setattr(training, "stop_requested", lambda: 0)
  trained, train = [], paths.train
  monkeypatch.setattr(
    paths, "train", lambda config, name: trained.append(name) or train(config, name)
  )
  rows = run(SMALL, tmp_path)["results"]
  assert trained == ["mean_tasks"]
  assert [row["name"] for row in rows] == ["equal", "mean_tasks"]


def test_a_path_that_stops_being_finite_is_a_row(tmp_path):
  lost = paths.Path(np.full((5, 6, 2), np.nan), 1.0, 2.0)
  front = pareto_front(points=(881, 56))
  summary = report.write(SMALL, {"equal": lost}, {}, front, tmp_path, "1 of 2 methods")
  assert summary["results"][0]["values"] == {}
  assert "| equal | - | - | - | - | - | diverged |" in (tmp_path / "results.md").read_text()


def test_the_figure_has_labels_and_a_path_from_each_start(tmp_path):
  points = {f"method {i}": paths.train(SMALL, "equal").points for i in range(4)}
  found = figures.draw(SMALL, points, pareto_front(points=(881, 56))[0], 0.1, tmp_path)
  (figure,) = found.values()
  assert [path.name for path in tmp_path.iterdir()] == list(found) == ["trajectories.png"]
  panels = [axes for axes in figure.axes if axes.get_title()]
  assert [axes.get_title() for axes in panels] == list(points)
  # Three columns: the fourth panel stands below the first.
  assert [bool(axes.get_xlabel()) for axes in panels] == [False, True, True, True]
  assert [bool(axes.get_ylabel()) for axes in panels] == [True, False, False, True]
  for axes in panels:
    drawn = {tuple(map(tuple, line.get_xydata())) for line in axes.get_lines()}
    assert {tuple(map(tuple, path)) for path in points["method 0"].astype(float)} <= drawn
  assert [text.get_text() for text in figure.legends[0].get_texts()] == [
    *("Pareto front", "path", "start", "end")
  ]


def test_a_path_is_adams_on_the_sum_of_the_losses():
  path = paths.train(dataclasses.replace(SMALL, steps=10, scale_first=0.1), "equal").points
  assert path.shape == (5, 6, 2)
  np.testing.assert_array_equal(path[:, 0], STARTS)
  theta, (mean, square) = np.array(STARTS[0], np.float32), (0, 0)
  gradient = jax.jit(jax.grad(lambda t: losses_fn(t, 0.1).sum()))
  for step in range(1, 11):
    grad = np.asarray(gradient(theta))
    mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
    theta = theta - 0.1 * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
  np.testing.assert_allclose(path[0, -1], theta, rtol=1e-4)


def test_methods_have_options_and_are_combined(tmp_path):
  config = dataclasses.replace(
    SMALL, methods=("cagrad:c=0", "mean_tasks", "rlw+cagrad:c=.4,times=T")
  )
  assert config.check() == {}
  points = {row["name"]: row["values"]["end"] for row in run(config, tmp_path)["results"]}
  assert points["cagrad:c=0"] == points["mean_tasks"]
  assert len(list((tmp_path / "paths").glob("*.npz"))) == len(points) == 3
  left_out = dataclasses.replace(config, methods=("equal", "auto_lambda:primary=0")).check()
  assert "looks ahead" in left_out["auto_lambda:primary=0"]
  with pytest.raises(ValueError, match="cagrad has no option 'cc'"):
    dataclasses.replace(config, methods=("cagrad:cc=1",)).check()
  none_left = dataclasses.replace(config, methods=("equal", "stch:mu=1,warm_up_steps=4 epochs"))
  assert "there are no epochs here" in none_left.check()["stch:mu=1,warm_up_steps=4 epochs"]


def test_with_an_offset_every_loss_is_positive_and_every_method_takes_part():
  left_out = Config(offset=25.0).check()
  assert not set(left_out) & set(NEED_POSITIVE)
  assert set(Config().check()) - set(left_out) == set(NEED_POSITIVE)
