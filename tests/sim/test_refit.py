"""What a smooth lens explains of an image is found, and nothing else."""

from __future__ import annotations

import torch

from arcformer.sim.refit import STEPS, explained, family, one_by_one


def test_steps_come_back_and_what_is_no_step_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth, change, weight = (torch.rand(2, 50, generator=generator, dtype=torch.float64) + 0.5 for _ in range(3))
    slopes = torch.randn(4, 2, 50, generator=generator, dtype=torch.float64)
    steps = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    rows = slopes.permute(1, 0, 2)  # what is orthogonal to all of them, in the noise
    solved = torch.linalg.solve((rows * weight[:, None]) @ rows.mT, (rows * weight[:, None]) @ change[..., None])
    other = change - (rows.mT @ solved)[..., 0]
    images = smooth + torch.einsum("bk,kbp->bp", steps, slopes) + other
    assert torch.allclose(explained(images, smooth, smooth + slopes, weight), steps, atol=1e-3)


def test_each_column_takes_its_own_step() -> None:
    parameters = {"theta_E": torch.tensor([1.0, 2.0]), "source_clump_amplitude": torch.tensor([[1.0, 3.0], [2.0, 4.0]])}
    columns = family(parameters)
    assert columns == [("theta_E", 0), ("source_clump_amplitude", 0), ("source_clump_amplitude", 1)]
    varied = one_by_one(parameters, columns)
    assert varied["theta_E"].view(4, 2)[1].tolist() == (parameters["theta_E"] + STEPS["theta_E"]).tolist()
    share = 1 + STEPS["source_clump_amplitude"]
    assert torch.allclose(varied["source_clump_amplitude"].view(4, 2, 2)[3, :, 1], torch.tensor([3.0, 4.0]) * share)
    unchanged = varied["source_clump_amplitude"].view(4, 2, 2)[:3, :, 1]
    assert (unchanged == torch.tensor([3.0, 4.0])).all()
