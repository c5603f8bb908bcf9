"""Images at a finer resolution than that of the instrument, with an uncertainty for every pixel."""

from arcformer.tasks.superres.task import FineImage, SuperRes

__all__ = ["FineImage", "SuperRes"]
