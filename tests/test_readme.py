"""What the README says holds: its code runs, its table is complete, its files exist."""

import pathlib
import re

import flax.linen as nn
import pytest

import jaxmtl
from jaxmtl import data, models

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
WEIGHTINGS = [
  name
  for name in jaxmtl.__all__
  if getattr(getattr(jaxmtl, name), "__module__", "").startswith(
    ("jaxmtl.weighting.", "jaxmtl.meta.")
  )
]


def rows_of(title):
  """The table rows under a heading, as lists of cells."""
  section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
  rows = [line for line in section.splitlines() if line.startswith("|")]
  return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


class Small(nn.Module):
  """In place of convnet4: a backbone that compiles soon."""

  @nn.compact
  def __call__(self, images, train=False):
    x = nn.Dense(8)(images.reshape(len(images), -1))
    return nn.relu(nn.BatchNorm(use_running_average=not train)(x))


def test_code_blocks_run(monkeypatch):
  """On the images of two steps an epoch: how long, and what, it learns is no part of what holds."""
  load, create = data.load, models.create

  def create_small(name, **options):
    network = create(name, **options)
    return Small() if name == "convnet4" else network

  def load_few(name):
    parts = load(name)
    return parts._replace(train=parts.train.subset(range(128)))

  monkeypatch.setattr(data, "load", load_few)
  monkeypatch.setattr(models, "create", create_small)
  assert len(BLOCKS) >= 2
  names = {"__name__": "readme"}
  for block in BLOCKS:  # in order: a later one may go on from an earlier one
    exec(compile(block, "README.md", "exec"), names)
  assert names["state"].step > 0


def test_the_table_names_every_method_once():
  rows = rows_of("Methods")
  listed = [row[0].strip("`") for row in rows]
  assert sorted(listed) == sorted([*WEIGHTINGS, *jaxmtl.aggregation.METHODS])
  kinds = {row[0].strip("`"): row[1].split(",")[0] for row in rows}
  assert all(kinds[name] == "weighting" for name in WEIGHTINGS)
  assert all(kinds[name] == "aggregator" for name in jaxmtl.aggregation.METHODS)


def test_every_method_has_a_paper_and_every_paper_is_cited():
  text, papers = re.sub(r"```.*?```", "", README, flags=re.DOTALL).split("\n## Papers\n")
  for row in rows_of("Methods"):
    assert re.findall(r"\[(\d+)\]", row[-1]), row[0]
  assert set(re.findall(r"\[(\d+)\]", text)) == set(re.findall(r"^(\d+)\. ", papers, re.MULTILINE))


DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md")


@pytest.mark.parametrize("document", [*DOCUMENTS, "docs/own_data.md", "docs/recipes.md"])
def test_local_files_and_links_exist(document):
  text = (ROOT / document).read_text(encoding="utf-8")
  links = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
  named = re.findall(r"`([\w.-]+/(?:[\w.-]+/)*(?:[\w.-]+\.\w+)?)`", text)
  if document == "README.md":
    assert links
    assert len(named) > 10
  # Links are relative to the page, names of files to the project (or to the page's folder).
  folder = (ROOT / document).parent
  for target in links:
    path, _, anchor = target.partition("#")
    page = folder / path if path else ROOT / document
    assert page.exists(), target
    assert not anchor or anchor in headings_of(page), target
  for path in named:
    assert (ROOT / path).exists() or (folder / path).exists(), path


def headings_of(page):
  """As links to a page name them."""
  titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
  return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
