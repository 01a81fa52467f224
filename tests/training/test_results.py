import numpy as np
import pytest

from jaxmtl.metrics import delta_mtl, relative_change


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
