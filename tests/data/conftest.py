"""Where sample data lie, if they do; and small files of every kind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real and reference-made sample data."""
    folder = os.environ.get("ARCFORMER_SAMPLES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no sample data: ARCFORMER_SAMPLES is not set to a folder")
    return Path(folder)


@pytest.fixture
def picture() -> np.ndarray:
    """A small image with noise, (12, 12)."""
    return np.random.default_rng(0).normal(1.0, 0.1, (12, 12))
