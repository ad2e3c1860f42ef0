"""What the tests of Numerai's data share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backtest.numerai import generate_files

# Test modules are imported by path; the slow reference beside them is found like this.
sys.path.insert(0, str(Path(__file__).parent))

SHARED = Path(__file__).parents[3] / "shared" / "data" / "numerai"


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """Small files in the full-size schema: 24 eras of 120 rows, 60 features."""
    return generate_files(tmp_path_factory.mktemp("numerai"), rows=2880, features=60, eras=24, seed=3)


@pytest.fixture(scope="session")
def shared_file():
    """Return the path of one of Numerai's own files, or skip."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{path.name} is not in ../shared/data/numerai")
        return path

    return find
