"""Memory that is taken is seen, at its peak and no longer than that."""

from __future__ import annotations

import sys

import pytest

from arcformer.memory import forget_peak, peak, resident

SIZE = 200  # MiB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it")
def test_a_peak_is_seen_and_forgotten() -> None:
    forget_peak()
    before = resident()
    taken = bytearray(b"x" * (SIZE * 2**20))  # all of it touched
    assert resident() - before > 0.9 * SIZE
    del taken
    assert resident() - before < 0.5 * SIZE
    assert peak() - before > 0.9 * SIZE
    forget_peak()
    if peak() > before + 0.5 * SIZE:
        pytest.skip("this system does not let a process forget its peak")
