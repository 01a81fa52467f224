import numpy as np
import pytest

from jaxmtl.training import comparison
from jaxmtl.training.results import delta_mtl, relative_change


def test_delta_mtl_of_a_hand_made_table():
  # Accuracy 60 against 50 is +20 %, error 3 against 4 is +25 %, error 11 against 10 is -10 %.
  metrics, single, lower = [60.0, 3.0, 11.0], [50.0, 4.0, 10.0], [False, True, True]
  np.testing.assert_allclose(relative_change(metrics, single, lower), [20, 25, -10])
  assert delta_mtl(metrics, single, lower) == pytest.approx(35 / 3)
  assert delta_mtl(single, single, lower) == 0


def test_delta_mtl_of_each_seed():
  metrics = np.array([[0.5, 0.8], [0.6, 0.9]])
  single = np.array([[0.5, 1.0], [0.5, 1.0]])
  np.testing.assert_allclose(delta_mtl(metrics, single), [-10, 5])
  np.testing.assert_allclose(delta_mtl(metrics, single[0]), [-10, 5])
  np.testing.assert_allclose(delta_mtl(metrics, single, lower_is_better=True), [10, -5])


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (([1.0, 2.0], [1.0]), r"shapes \(2,\) and \(1,\)"),
    (([1.0, 2.0], [1.0, 0.0]), "single must not be zero"),
    (([1.0, 2.0], [1.0, 1.0], [True]), "lower_is_better must be one bool"),
  ],
)
def test_bad_tables_raise(arguments, message):
  with pytest.raises(ValueError, match=message):
    delta_mtl(*arguments)


def test_figures_take_one_method_one_seed_and_values_that_are_not_finite(tmp_path):
  comparison.plot_heat_map(tmp_path / "a.png", np.array([[np.nan]]), ["a"], ["left"])
  comparison.plot_heat_map(tmp_path / "b.png", np.zeros((9, 2)), list("abcdefghi"), ["x", "y"])
  points = {"one": (np.float64(3.0), np.ones(1)), "two": (np.ones(3), np.arange(3.0))}
  comparison.plot_trade_off(tmp_path / "c.png", points, xlabel="x", ylabel="y", reference="one")
  lines = {"left": np.ones(1), "right": np.ones((2, 1))}
  comparison.plot_panels(tmp_path / "d.png", {"one": lines}, xlabel="x", ylabel="y", title="one")
  many = {str(task): np.ones(3) for task in range(20)}
  comparison.plot_panels(
    tmp_path / "e.png", {"a": many, "b": many}, xlabel="x", ylabel="y", reference=many
  )
  assert len(list(tmp_path.iterdir())) == 5
