"""Images in png and jpg files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from arcformer.batch import LensBatch
from arcformer.data.image import BadFile, image_batch

__all__ = ["read_raster"]


def read_raster(path: str | Path, *, pixel_scale: float | None = None) -> LensBatch:
    """The image in a png or jpg file, its grey levels as they stand there: one channel, or three for a colour image.

    Transparency is dropped, and a palette resolved. ``pixel_scale``, in arcsec, is never in such a file.

    Raises:
        BadFile: the file is corrupt, truncated or empty.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            if image.mode in ("P", "RGBA", "CMYK", "YCbCr"):
                image = image.convert("RGB")
            elif image.mode in ("1", "LA"):
                image = image.convert("L")
            pixels = np.asarray(image)
    except Exception as error:  # whatever reading a damaged file brings up, the file is what is wrong
        raise BadFile(f"{path}: cannot be read as an image ({error})") from None
    return image_batch(path, pixels, pixel_scale=pixel_scale, unit="grey levels")
