"""Every notebook runs from top to bottom with the interpreter of the tests."""

import json
import pathlib
import sys

import jupyter_client.kernelspec
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
  kernel = tmp_path / "kernels" / "this"
  kernel.mkdir(parents=True)
  command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
  spec = {"argv": command, "display_name": "this", "language": "python"}
  (kernel / "kernel.json").write_text(json.dumps(spec))
  monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  assert "this" in jupyter_client.kernelspec.find_kernel_specs()

  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  client = nbclient.NotebookClient(
    notebook, timeout=300, kernel_name="this", resources={"metadata": {"path": str(path.parent)}}
  )
  client.execute()
  outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
  assert any("image/png" in o.get("data", {}) for o in outputs)


def test_there_are_notebooks():
  assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
  cells = nbformat.read(path, as_version=4).cells
  assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
