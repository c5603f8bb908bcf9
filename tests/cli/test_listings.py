"""presets, models, tasks: every name, every option, with what it is by default."""

from __future__ import annotations

import json
from pathlib import Path

from shell import Command

from arcformer.config import as_toml, options_of, read
from arcformer.models import BACKBONES
from arcformer.sim.parameters import unit_of
from arcformer.sim.presets import PRESETS
from arcformer.tasks import TASKS
from arcformer.training import RunConfig

OWN = '''
from arcformer.models import Backbone

class Own(Backbone):
    """My own."""
    def __init__(self, image_size: int, channels: int, *, width: int = 7, deep: bool = False):
        super().__init__()

    def features(self, images, context=None): ...
'''


def test_presets_in_whole_lines(arcformer: Command) -> None:
    ended = arcformer("presets")
    assert (ended.code, ended.err) == (0, "")
    _, _, *lines = ended.out.splitlines()
    for name, line in zip(PRESETS, lines, strict=True):
        preset = PRESETS.get(name)
        for shown in (name, ", ".join(preset.classes), f"{preset.pixels} x {preset.pixels}", preset.summary):
            assert shown in line


def test_a_preset_with_all_that_is_known_of_it(arcformer: Command) -> None:
    for name in PRESETS:
        preset, shown = PRESETS.get(name), arcformer("presets", name).out
        for text in (*preset.faults, *preset.assumptions, *preset.aliases, preset.provenance, preset.unit):
            assert text in shown
        lines = shown.partition("\ntargets")[2].splitlines()[3:]
        for target, line in zip(preset.targets, lines, strict=False):
            assert line.split()[0] == target
            assert f" {unit_of(target) or '-'} " in line
            assert ", ".join(preset.classes_with(target)) in line or " all classes" in line
    shown = arcformer("presets", "deeplense/model-1").out
    assert any(
        line.split()[0] == "theta_E" and line.endswith("all classes: 1.28149") for line in shown.splitlines() if line
    )
    assert "PowerLaw(slope=-0.9, low=1e+06, high=1e+10)" in arcformer("presets", "deeplense/model-1").out
    assert "z_convention" not in arcformer("presets", "deeplense/model-1").out  # it has none
    assert "z_convention" in arcformer("presets", "deeplense/model-2").out


def test_every_option_of_every_model_and_task(arcformer: Command) -> None:
    for verb, registry in (("models", BACKBONES), ("tasks", TASKS)):
        shown = arcformer(verb).out
        for name in registry:
            alone = arcformer(verb, f"{name[:-1]}*").out
            assert alone in shown + "\n"
            assert alone.startswith(f"{name}: ")
            assert all(f"\n  {option} " in alone for option in options_of(registry.get(name)).model_fields)
    assert " tiny | small | base " in arcformer("models", "vit").out
    assert "902,976 parameters" in arcformer("models", "vit").out
    assert "the maximum of auroc" in arcformer("tasks", "classify").out


def test_a_model_of_ones_own(arcformer: Command) -> None:
    Path("mine_for_the_listing.py").write_text(OWN)
    ended = arcformer("models", "mine_for_the_listing:Own")
    assert ended.out.startswith("mine_for_the_listing:Own: My own.\n  0 parameters")
    rows = [line.split() for line in ended.out.splitlines()[-3:]]
    assert ["width", "int", "7"] in rows
    assert ["deep", "bool", "false"] in rows


def test_a_profile_goes_on_where_a_model_fails(arcformer: Command) -> None:
    words = ["models", "--profile", "no.such:Backbone", "vit/tiny", "--size", 16, "--batch", 2, "--json", "costs.json"]
    ended = arcformer(*words)
    assert ended.code == 0
    assert ended.err.startswith("no.such:Backbone: backbone 'no.such:Backbone' cannot be imported")
    _, _, failed, measured = ended.out.splitlines()
    assert failed.split() == ["no.such:Backbone", "failed"]
    assert measured.split()[:2] == ["vit/tiny", "902,976"]
    costs = json.loads(Path("costs.json").read_text())
    assert costs["rows"][0] == {"name": "parameters vit/tiny", "value": 902976, "unit": ""}
    assert costs["failed"].keys() == {"no.such:Backbone"}


def test_a_profile_overwrites_nothing_and_options_are_not_ignored(arcformer: Command) -> None:
    for text in ("[]", '"a profile of mine"', '["profile"]', '{"profile": 1}'):
        Path("notes.json").write_text(text)
        ended = arcformer("models", "--profile", "vit/tiny", "--json", "notes.json")
        assert (ended.code, Path("notes.json").read_text()) == (2, text)
        assert "holds something else" in ended.err
    for place in ("notes.json/costs.json", "notes.json/below/costs.json"):
        ended = arcformer("models", "--profile", "vit/tiny", "--json", place)
        assert ended.code == 2
        assert f"{place} cannot be written to: notes.json is a file, not a folder; name another place" in ended.err
    ended = arcformer("models", "vit", "--size", 96, "--batch", 2)
    assert (ended.code, ended.out) == (2, "")
    assert "--size, --batch: for what is measured; say --profile as well" in ended.err


def test_print_config_gives_a_run_file_of_the_same_run(arcformer: Command) -> None:
    ended = arcformer("train", "training.steps=7", "backbone.patch=4", "--print-config")
    assert (ended.code, ended.err) == (0, "")
    Path("mine.toml").write_text(ended.out)
    config = read(RunConfig, "mine.toml")
    assert config == read(RunConfig, overrides=["training.steps=7", "backbone.patch=4"])
    assert as_toml(config).strip() == ended.out.strip()
    ended = arcformer("train", "seed=3", "mine.toml", "--print-config")  # wherever the file stands
    assert ended.out.strip() == as_toml(config.model_copy(update={"seed": 3})).strip()
