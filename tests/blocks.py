"""The code of the pages, as their tests run and check it."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def blocks_of(text):
  """The Python blocks of a page, in order."""
  return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def readme():
  """The programs in the README, each with what goes on from it."""
  programs = []
  for block in blocks_of((ROOT / "README.md").read_text(encoding="utf-8")):
    if block.startswith(("import ", "from ")):
      programs.append(block)
    else:
      programs[-1] += "\n\n" + block
  return programs


def recipes():
  """Title -> (code that the section says it goes on from, its own code)."""
  text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
  first, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
  code = {t: _join(s) for t, s in zip(parts[::2], parts[1::2], strict=True)}
  titles = list(code)
  common, plain = _join(first), "Plain pytrees"
  own_network = [plain, *titles[1 : titles.index("The Gramian alone")]]
  return {
    title: (common if title in own_network else common + "\n\n" + code[plain], code[title])
    for title in titles
  }


def programs():
  """The recipes as few programs: one a library, and one of all sections that go on from another."""
  own, others = [], {}
  for before, code in recipes().values():
    if "def make_step(" in before:
      others[before] = others.get(before, before) + "\n\n" + code
    else:
      own.append(before + "\n\n" + code)
  return [*own, *others.values()]


def _join(text):
  return "\n\n".join(blocks_of(text))
