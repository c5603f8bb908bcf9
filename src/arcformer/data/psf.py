"""Point spread functions from files, made fit to convolve with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arcformer.data.image import BadFile

__all__ = ["tidy_psf"]


def tidy_psf(path: Path, psf: NDArray[Any], *, flux: float = 0.999) -> NDArray[np.float64]:
    """The smallest square of odd size about the peak of ``psf`` that holds the share ``flux`` of it, summing to one.

    Where the peak is too near to an edge for that, the largest square that fits.

    Raises:
        BadFile: ``psf``, found in ``path``, is not a finite image with a positive sum.
    """
    psf = np.asarray(psf, dtype=np.float64)
    if psf.ndim != 2 or not np.isfinite(psf).all() or psf.sum() <= 0:
        raise BadFile(f"{path}: its PSF, of shape {psf.shape}, is not a finite image with a positive sum")
    y, x = (int(i) for i in np.unravel_index(psf.argmax(), psf.shape))
    most = min(y, x, psf.shape[0] - 1 - y, psf.shape[1] - 1 - x)
    square = psf
    for half in range(most + 1):
        square = psf[y - half : y + half + 1, x - half : x + half + 1]
        if square.sum() >= flux * psf.sum():
            break
    return square / square.sum()
