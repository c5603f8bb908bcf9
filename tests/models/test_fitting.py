"""Images made to fit a patch."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcformer.models.fitting import fit


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 50), st.integers(8, 50), st.sampled_from(["pad", "crop"]))
def test_uneven_images_keep_their_centre(height, width, uneven):
    """The result has sides that the patch divides, and the image's middle in its own, to half a pixel."""
    image = torch.zeros(1, 1, height, width)
    image[..., height // 2, width // 2] = 1
    fitted = fit(image, 8, uneven)
    for axis, before in ((2, height), (3, width)):
        after = fitted.shape[axis]
        assert after % 8 == 0
        assert (after >= before) if uneven == "pad" else (after <= before)
        found = fitted.sum(5 - axis).argmax().item()
        assert abs((found - (after - 1) / 2) - (before // 2 - (before - 1) / 2)) <= 0.5
