"""Every notebook runs against a running `ticklake up`, and carries no outputs in git."""

import nbclient
import nbformat
import pytest

from processes import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
# What a run must have shown, beside not failing.
SHOWN = {"candles": "image/png", "quick_start": "text/html", "without_a_server": "text/html", "as_of": "text/html"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, market, monkeypatch, tmp_path):
    monkeypatch.setenv("TICKLAKE_SERVER", market.address)
    monkeypatch.setenv("TICKLAKE_LAKE", str(market.folder))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any(SHOWN[path.stem] in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, f"strip the outputs of {path.name}"
