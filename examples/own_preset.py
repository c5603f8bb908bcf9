"""A data set of one's own, derived from a preset. Train on it with `data.preset=own_preset:FAINT`."""

from dataclasses import replace

from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import LogUniform, Uniform
from arcformer.sim.render import simulate
from arcformer.sim.substructure import WarmSubhalos

HUBBLE = PRESETS.get("survey/hst")

FAINT = replace(
    HUBBLE,
    name="faint-hst",
    summary="survey/hst with fainter sources, and warm instead of axion-like dark matter",
    source=replace(HUBBLE.source, magnitude=Uniform(25.0, 26.0)),
    populations={
        "no_sub": HUBBLE.populations["no_sub"],
        "cdm": HUBBLE.populations["cdm"],
        "wdm": WarmSubhalos(f_sub=LogUniform(0.003, 0.1), half_mode_mass=LogUniform(1e7, 1e10)),
    },
)

if __name__ == "__main__":
    batch = simulate(FAINT, 6, seed=0, truth=True)
    print(f"{len(batch)} images of {batch.classes}, {tuple(batch.images.shape)}, in {batch.unit}")
    print(f"subhalos in each: {batch.extras['subhalo_count'].tolist()}")
