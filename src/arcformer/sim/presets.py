"""All presets. Importing this module registers them."""

from arcformer.sim import corrected, published, surveys
from arcformer.sim.preset import PRESETS, Lens, Preset

__all__ = ["PRESETS", "Lens", "Preset", "corrected", "published", "surveys"]
