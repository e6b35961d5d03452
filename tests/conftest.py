"""Fixtures that several packages' tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Several processes run tests, and each starts others: threads beside them only wait for each other,
# and burn processor time while they do. Before torch and NumPy are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long one example takes says more about the machine's load than about the code.
settings.register_profile("irnet", deadline=None)
settings.load_profile("irnet")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file share fixtures, and a process; slow ones go where there is room."""
    for item in items:
        if not any(item.iter_markers("slow")):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data sets, beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the shared data sets in ../shared/data beside the repository")
    return folder
