"""A forked loader simulates with compiled kernels, also where nothing was compiled before: it once waited for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcformer.sim.kernels import can_compile

SCRIPT = """
import torch
from torch.utils.data import DataLoader, Dataset
from arcformer.data.simulated import SimulatedBatches

class Batches(Dataset):
    def __init__(self):
        self.source = SimulatedBatches("deeplense/model-2", batch_size=6, seed=0, split="train", pixels=16)
    def __getitem__(self, k):
        return self.source.batch(k)

torch.set_num_threads(2)
here = Batches()
first = here[0]
for k, batch in enumerate(DataLoader(here, batch_size=None, sampler=range(2), num_workers=1)):
    assert torch.equal(batch.images, here[k].images)
assert torch.get_num_threads() == 2
"""


@pytest.mark.slow
def test_a_forked_worker_compiles_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCFORMER_EAGER", raising=False)
    if not can_compile():
        pytest.skip("no compiler here")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment, timeout=240)
