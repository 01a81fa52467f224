"""The code of the pages, as their tests run and check it."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def blocks_of(text):
  """The Python blocks of a page, in order."""
  return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def documents():
  """All pages: those at the root, of the experiments, and under docs/."""
  found = [*ROOT.glob("*.md"), *ROOT.glob("experiments/*.md"), *ROOT.glob("docs/**/*.md")]
  return [str(path.relative_to(ROOT)) for path in sorted(found)]


def pages():
  """Page -> (the page that it says it goes on from, its own code), of those that have code.

  The recipes are told apart by their sections.
  """
  found = {}
  for page in documents():
    text = (ROOT / page).read_text(encoding="utf-8")
    code = _join(text)
    if code and page not in ("docs/recipes.md", "CONTRIBUTING.md"):
      before = re.search(r"go on from \[[^\]]*\]\(([\w./]+\.md)\)", text)
      folder = page.rpartition("/")[0]
      found[page] = (f"{folder}/{before[1]}" if before else None, code)
  return found


def rows_of(text, title):
  """The table rows under a heading, as lists of cells."""
  section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
  rows = [line for line in section.splitlines() if line.startswith("|")]
  return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def readme():
  """The programs in the README and on the pages, each with what it goes on from."""
  own = pages()
  return [(own[before][1] + "\n\n" if before else "") + code for before, code in own.values()]


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
