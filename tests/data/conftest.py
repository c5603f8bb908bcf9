"""A small image."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def picture() -> np.ndarray:
    """A small image with noise, (12, 12)."""
    return np.random.default_rng(0).normal(1.0, 0.1, (12, 12))
