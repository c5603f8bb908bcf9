"""A process that was forked compiles its kernels itself: torch's pool of compiling processes does not answer it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcformer.sim.kernels import can_compile

SCRIPT = """
import os
import torch
from arcformer.sim.kernels import kernel

double, triple = kernel(lambda x: 2 * x), kernel(lambda x: 3 * x)
assert double(torch.ones(5), compiled=True).sum() == 10
child = os.fork()
if not child:
    os._exit(int(triple(torch.ones(5), compiled=True).sum()))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 15
"""


def test_a_forked_process_compiles_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCFORMER_EAGER", raising=False)
    if not can_compile():
        pytest.skip("no compiler here")
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment, timeout=200)
