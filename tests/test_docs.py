"""What the pages say holds: their code runs, links lead somewhere, tables are complete."""

import functools
import inspect
import re
import urllib.parse

import blocks
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmtl
from jaxmtl import data, models

DOCUMENTS = blocks.documents()
PAGES = blocks.pages()


class Small(nn.Module):
  """Stands for a backbone of the pages, whose compilation would take most of the time."""

  @nn.compact
  def __call__(self, images, train=False):
    x = images.reshape(len(images), -1)
    return nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x)))


@functools.cache
def run(page):
  """The names that a page's code leaves, on the images of two steps an epoch."""
  before, code = PAGES[page]
  names = dict(run(before)) if before else {"__name__": "page"}
  load, create = data.load, models.create

  def load_few(name):
    parts = load(name)
    return parts._replace(train=parts.train.subset(range(128)))

  def create_small(name, **options):
    create(name, **options)  # the options are right
    return Small()

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(data, "load", load_few)
    patch.setattr(models, "create", create_small)
    exec(compile(code, page, "exec"), names)
  return names


@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page):
  names = run(page)
  for leaf in jax.tree.leaves([names.get(name) for name in ("params", "losses", "metrics")]):
    if isinstance(leaf, jax.Array):
      assert np.all(np.isfinite(leaf))


def test_code_goes_on_from_other_pages():
  assert PAGES["docs/devices.md"][0] == PAGES["docs/meta_gradients.md"][0] == "docs/training.md"
  assert run("docs/training.md")["state"].step == 4
  assert run("docs/meta_gradients.md")["state"].step == 2


def prose(page):
  """A page without its code."""
  text = (blocks.ROOT / page).read_text(encoding="utf-8")
  return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links_of(page):
  return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def headings_of(page):
  """As links to a page name them."""
  titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
  return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS)
def test_local_files_and_anchors_exist(page):
  folder = (blocks.ROOT / page).parent
  for target in links_of(page):
    if "://" in target:
      continue
    path, _, anchor = target.partition("#")
    found = (folder / path).resolve() if path else blocks.ROOT / page
    assert found.exists(), target
    assert not anchor or anchor in headings_of(found), target
  # Names of files are relative to the project, or to the page's folder.
  for path in re.findall(r"`([\w.-]+/(?:[\w.-]+/)*(?:[\w.-]+\.\w+)?)`", prose(page)):
    assert (blocks.ROOT / path).exists() or (folder / path).exists(), path


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_elsewhere_are_well_formed(page):
  """Without asking anyone: there is no network in continuous integration."""
  text = (blocks.ROOT / page).read_text(encoding="utf-8")
  assert "http://" not in text
  found = [target for target in links_of(page) if "://" in target]
  found += re.findall(r"(?<!\]\()https://[^\s)>\"'`]+", text)
  for target in found:
    url = urllib.parse.urlsplit(target)
    assert url.scheme == "https", target
    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", url.netloc), target
    assert re.fullmatch(r"[\w./:%=&?#~+-]*[\w/]", url.path + url.query + url.fragment or "/"), (
      target
    )


def test_names_of_the_library_are_there():
  """`jaxmtl.f` anywhere, and the short forms of its packages on the pages."""
  packages = "data|losses|models|regularization|training"
  for page in DOCUMENTS:
    if page == "CHANGELOG.md":
      continue  # it may name what is gone
    for name in re.findall(rf"`((?:jaxmtl|{packages})(?:\.\w+)+)", prose(page)):
      if name.endswith((".py", ".toml", ".json", ".safetensors", ".csv")):
        continue
      found = jaxmtl
      for part in name.removeprefix("jaxmtl.").split("."):
        assert hasattr(found, part), f"{page}: {name}"
        found = getattr(found, part)


def test_every_page_is_in_an_index():
  for index in ("docs/README.md", "docs/results/README.md"):
    folder = (blocks.ROOT / index).parent
    listed = {(folder / link.partition("#")[0]).resolve() for link in links_of(index)}
    assert set(folder.glob("*.md")) - {blocks.ROOT / index} <= listed


PAPERS = dict(re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", prose("docs/papers.md"), re.M | re.S))


def test_every_paper_is_cited_and_every_number_is_a_paper():
  cited = set()
  for page in DOCUMENTS:
    if page.startswith(("README", "docs/")) and page != "docs/papers.md":
      numbers = set(re.findall(r"(?<!\w)\[(\d+)\](?!\()", prose(page)))
      assert numbers <= set(PAPERS), page
      cited |= numbers
  assert cited == set(PAPERS)
  assert list(PAPERS) == [str(i + 1) for i in range(len(PAPERS))]


@pytest.mark.parametrize("number", PAPERS)
def test_a_paper_has_its_link(number):
  """The number of arXiv or the DOI that is shown is the one that is linked."""
  shown = re.findall(r"\[(\S+)\]\((\S+)\)", PAPERS[number])
  assert len(shown) == 1 or "No DOI" in PAPERS[number]
  for text, target in shown:
    if text.startswith("arXiv:"):
      assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", target)
      assert target.endswith("/" + text.removeprefix("arXiv:"))
    elif text.startswith("doi:"):
      assert target == "https://doi.org/" + text.removeprefix("doi:")
    else:
      assert urllib.parse.urlsplit(target).netloc == text


RESULTS = [page for page in DOCUMENTS if re.fullmatch(r"docs/results/(?!README)\w+\.md", page)]


def test_every_experiment_has_its_results():
  programs = {path.parent.name for path in blocks.ROOT.glob("experiments/*/__main__.py")}
  assert {page.rpartition("/")[2].removesuffix(".md") for page in RESULTS} == programs


@pytest.mark.parametrize("page", RESULTS)
def test_results_say_how_they_came_about(page):
  """Each table of results stands below one of what a reader needs to judge it."""
  blocks_of_rows = re.findall(r"(?:^\|.*\n)+", prose(page), re.MULTILINE)
  told = "\n".join(
    rows
    for rows in blocks_of_rows
    if rows.startswith(("| | |", "| | digits", "| | rooms", "| | scenes"))
  )
  for word in ("command", "minutes, machine", "data, network", "seeds, spread", "chosen"):
    assert f"| {word} |" in told, word
  assert "published" in prose(page).lower()
  for seeds in re.findall(r"^\| seeds, spread \|(.*)", told, re.MULTILINE):
    assert re.search(r"\b([2-9]|16)\b", seeds) or "no claim" in seeds, seeds


METHODS = prose("docs/methods.md")
ROWS = {
  row[0].strip("`"): row[1:]
  for title in ("Weightings", "Aggregators")
  for row in blocks.rows_of(METHODS, title)
}
NEEDED = {"constant": {"weights": [1.0, 1.0]}, "stch": {"mu": 0.5}}


def test_methods_are_those_of_the_readme_in_its_order():
  rows = blocks.rows_of(prose("README.md"), "Methods")
  assert list(ROWS) == [row[0].strip("`") for row in rows]
  assert set(ROWS) == set(jaxmtl.METHODS)
  for name, heads in ((row[0].strip("`"), row[3]) for row in rows):
    assert ROWS[name][-1] == heads, name


@pytest.mark.parametrize("name", jaxmtl.METHODS)
def test_options_are_what_methods_take(name):
  """Each group of options makes a method; a name of the library is one."""
  follows, options, length, losses, _ = ROWS[name]
  assert follows
  assert losses
  assert re.match(r"(sum|mean|own: )", length)
  for group in options.split("; "):
    told = {}
    for code in re.findall(r"`([^`]+)`", group):
      option, equals, value = code.partition("=")
      if not equals:
        assert hasattr(jaxmtl, code.removeprefix("jaxmtl.")), code
        continue
      assert option in inspect.signature(jaxmtl.METHODS[name]).parameters, code
      told[option] = eval(value, {"jaxmtl": jaxmtl, "optax": optax})
    assert jaxmtl.METHODS[name](2, **NEEDED.get(name, {}) | told)
    assert told or "jaxmtl." in group or group == "-"
  # Options that are named in prose too.
  for code in re.findall(r"`(\w+)(?:=[^`]+)?`", follows + losses):
    known = inspect.signature(jaxmtl.METHODS[name]).parameters
    assert code in known or code in jaxmtl.METHODS, code


OF_A_SUM = [name for name, row in ROWS.items() if row[2].startswith(("sum", "mean"))]


@functools.cache
def lengths():
  """Of the updates, over the sum's, in one program: all in one compilation."""
  apart, alike = jnp.eye(2), jnp.ones((2, 2))

  def updates():
    found = {}
    for name in OF_A_SUM:
      method = jaxmtl.METHODS[name](2, **{"trimmed_mean": {"trim": 0}}.get(name, {}))
      rows = alike if name == "krum" else apart  # of one gradient Krum says nothing
      if name in jaxmtl.meta.METHODS:
        out = method.bilevel.weights(method.init(None))[:, None] * rows
      else:
        state = method.init(jnp.zeros(2))
        out, _ = method.update(rows, state, jnp.zeros(2), losses=jnp.ones(2))
      out = out if name in jaxmtl.aggregation.METHODS else out.sum(axis=0)
      found[name] = jnp.linalg.norm(out) / jnp.linalg.norm(rows.sum(axis=0))
    return found

  return jax.jit(updates)()


@pytest.mark.parametrize("name", OF_A_SUM)
def test_lengths_are_a_sums_or_a_means(name):
  """Of gradients at right angles and of one length, where the kinds of a method all agree."""
  assert lengths()[name] == pytest.approx(1 if ROWS[name][2].startswith("sum") else 0.5, rel=0.31)
