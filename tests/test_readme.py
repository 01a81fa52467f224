"""The README is short, complete, and in step with the methods there are."""

import blocks

import jaxmtl

README = (blocks.ROOT / "README.md").read_text(encoding="utf-8")
KINDS = dict.fromkeys(jaxmtl.aggregation.METHODS, "aggregator")
KINDS |= dict.fromkeys([*jaxmtl.weighting.METHODS, *jaxmtl.meta.METHODS], "weighting")
ROWS = blocks.rows_of(README, "Methods")


def test_it_is_short():
  assert len(README.splitlines()) <= 250


def test_the_table_names_every_method_once():
  listed = [row[0].strip("`") for row in ROWS]
  assert sorted(listed) == sorted(jaxmtl.METHODS)
  for name, row in zip(listed, ROWS, strict=True):
    assert row[1].split(",")[0] == KINDS[name], name


def test_the_table_tells_what_methods_are():
  """From the methods themselves, as far as they know it."""
  needed = {"constant": {"weights": [1.0, 1.0]}, "stch": {"mu": 0.5}}
  for name, kind, _, heads, _ in ((row[0].strip("`"), *row[1:]) for row in ROWS):
    method = jaxmtl.METHODS[name](2, **needed.get(name, {}))
    if KINDS[name] == "weighting":
      assert ("Gramian" in kind) == method.needs_gramian, name
      assert ("two batches" in kind) == (method.bilevel is not None), name
      assert ("second forward pass" in kind) == (method.revise is not None), name
      assert heads == ("g_t" if name == "equal" else "w_t g_t")
    else:
      looks = method.weigh is not None and name not in ("mean_tasks", "sum_tasks")
      assert ("Gramian" in kind) == looks, name
      assert (heads != "g_t") == (method.head_weights is not None), name


def test_every_experiment_has_a_row():
  commands = [row[0].strip("`") for row in blocks.rows_of(README, "Experiments")]
  programs = [path.parent.name for path in blocks.ROOT.glob("experiments/*/__main__.py")]
  assert sorted(commands) == sorted(f"python -m experiments.{n}" for n in [*programs, "predict"])


def test_the_commands_are_there_word_for_word():
  """Continuous integration takes the first line with the tests' command."""
  install = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[{}]' && .venv/bin/python -m {}"
  lines = README.splitlines()
  assert install.format("experiments", "experiments.auto_lambda --preset glance") in lines
  assert next(x for x in lines if "-m pytest" in x) == install.format("dev", "pytest -n 2")
