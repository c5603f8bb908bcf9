"""Where sample data lie, if they do; and properties that are tested on the same examples every time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real and reference-made sample data."""
    folder = os.environ.get("ARCFORMER_SAMPLES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no sample data: ARCFORMER_SAMPLES is not set to a folder")
    return Path(folder)


settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
