"""Methods as the command line names them."""

import pytest

from experiments.runner.methods import Method, changes_of, combining


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("cagrad:c=nan", "method 'cagrad:c=nan': c must be finite, got nan"),
    ("cagrad:c=1e400", "c must be finite, got 1e400"),
    ("cagrad:c=foo", "cagrad does not take c='foo': an option that is a number got 'foo'"),
    ("cagrad:c=None", "cagrad does not take c=None"),
    ("cagrad:times=foo", "times must be a number above 0 or T, .* got 'foo'"),
    ("cagrad:times=True", "times must be a number above 0 or T, .* got True"),
    ("cagrad:times=-1", "times must be a number above 0 or T, .* got -1"),
    ("pcgrad:key=foo", "pcgrad does not take key='foo'"),
    ("uncertainty:optimizer=adam", "uncertainty does not take optimizer='adam'"),
    ("nash_mtl:update_every=1.5", "update_every must be at least 1, a whole number, got 1.5"),
    ("constant:weights=foo", "constant does not take weights='foo'"),
  ],
)
def test_options_that_cannot_be_are_one_line(name, message):
  with pytest.raises(ValueError, match=message):
    Method.parse(name).build(2, 10)


def test_epochs_are_counted_where_there_are_some():
  Method.parse("stch:mu=1,warm_up_steps=4 epochs").build(2, 10)
  with pytest.raises(ValueError, match="there are no epochs here"):
    Method.parse("stch:mu=1,warm_up_steps=4 epochs").build(2, None)


def test_losses_of_one_batch_are_combined_by_what_takes_one():
  assert combining("equal") == combining("cagrad", 1) == Method()
  assert changes_of(combining("equal")) == {}
  assert changes_of(combining("cagrad:c=.2"))["combine"]["aggregator"]["c"] == 0.2
  for name in ("auto_lambda", "modo"):
    with pytest.raises(ValueError, match=f"combine must be .* got '{name}', which takes several"):
      combining(name)
  with pytest.raises(ValueError, match="method 'pcgrd' is not known"):
    combining("pcgrd")
