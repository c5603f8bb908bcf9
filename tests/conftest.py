"""Where sample data lie, if they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real and reference-made sample data."""
    folder = os.environ.get("ARCFORMER_SAMPLES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no sample data: ARCFORMER_SAMPLES is not set to a folder")
    return Path(folder)
