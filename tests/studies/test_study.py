"""A study file: which runs follow from it, and what is wrong with it, all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arcformer.config import write
from arcformer.errors import InputError
from arcformer.studies.plan import plan
from arcformer.studies.study import Study, laid_over, read

STUDIES = sorted((Path(__file__).parents[2] / "runs" / "studies").glob("*.toml"))

FAMILIES = """
[axes]
family = [
  {label = "ViT", backbone = {name = "vit", depth = 2}, training.rate = 3e-3},
  {label = "ResNet", backbone = "resnet"},
]
seed = [1]
"""


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], Study]:
    """``study(text)``: the study in a file with this text."""

    def written(text: str) -> Study:
        (tmp_path / "families.toml").write_text(text)
        return read(tmp_path / "families.toml")

    return written


def labels(study: Study) -> list[str]:
    return [planned.label for planned in plan(study)]


def test_every_combination_is_a_run(study):
    found = plan(study(f'{FAMILIES}\ndata.preset = ["deeplense/model-1", "deeplense/model-2"]\n'))
    assert [planned.axes for planned in found] == [
        {"family": family, "seed": "1", "data.preset": preset}
        for family in ("ViT", "ResNet")
        for preset in ("deeplense/model-1", "deeplense/model-2")
    ]
    vit = found[0].config
    assert (vit.backbone.name, vit.backbone.options["depth"], vit.training.rate) == ("vit", 2, 3e-3)
    assert found[-1].config.data.preset == "deeplense/model-2"
    assert found[-1].config.training.rate == 1e-3
    assert len({planned.folder for planned in found}) == 4


def test_classes_are_an_axis(study):
    only = 'data.only = [["axion", "cdm"], ["no_sub", "axion"]]'
    found = plan(study(f'[axes]\n{only}\n[test]\npreset = "corrected/model-1"\n'))
    assert [planned.config.data.classes for planned in found] == [("cdm", "axion"), ("no_sub", "axion")]
    assert [planned.axes["data.only"] for planned in found] == ["axion+cdm", "no_sub+axion"]
    with pytest.raises(InputError, match="unknown class 'axion' of preset corrected/warm"):
        plan(study('[run]\ndata.only = ["cdm", "axion"]\n[test]\npreset = "corrected/warm"\n'))


def test_without_axes_there_is_the_base(study):
    assert labels(study("[run]\nseed = 7\n")) == ["base"]


def test_a_grid_names_values_of_the_axes_by_their_labels_and_nothing_is_planned_twice(study):
    grown = study(f'{FAMILIES}\n[[grid]]\nfamily = ["ViT"]\nseed = [1, 2, 3]\n')
    assert labels(grown) == ["ViT, seed 1", "ResNet, seed 1", "ViT, seed 2", "ViT, seed 3"]
    first, *_, last = plan(grown)
    assert first.cell == last.cell
    assert {planned.folder for planned in plan(study(FAMILIES))} < {planned.folder for planned in plan(grown)}


def test_an_axis_of_one_grid_only_is_told_for_all_runs(study):
    found = plan(study('[axes]\nseed = [1]\n[[grid]]\ntraining.steps = [5]\nbackbone = ["resnet"]\n'))
    assert [planned.axes for planned in found] == [
        {"seed": "1", "training.steps": "2000", "backbone": "vit"},
        {"seed": "1", "training.steps": "5", "backbone": "resnet"},
    ]


def test_options_of_a_component_that_is_an_axis_itself(study):
    found = plan(study('[axes]\n"backbone.size" = ["tiny", "small"]\nbackbone = ["vit", "swin"]\n'))
    chosen = [(planned.config.backbone.name, planned.config.backbone.options["size"]) for planned in found]
    assert chosen == [("vit", "tiny"), ("swin", "tiny"), ("vit", "small"), ("swin", "small")]


def test_a_base_is_found_beside_the_study_and_is_laid_under_it(study, tmp_path):
    (tmp_path / "base.toml").write_text('[backbone]\nname = "vit"\ndepth = 3\n[training]\nsteps = 9\nrate = 0.1\n')
    found = plan(study('base = "base.toml"\nrun.training.rate = 0.2\naxes.backbone = ["resnet", {depth = 4}]\n'))
    assert [planned.config.training.steps for planned in found] == [9, 9]
    assert [planned.config.training.rate for planned in found] == [0.2, 0.2]
    assert [planned.config.backbone.name for planned in found] == ["resnet", "vit"]
    assert "depth" not in found[0].config.backbone.options
    assert found[1].config.backbone.options["depth"] == 4


def test_tables_are_laid_over_one_another_and_components_replaced():
    under = {"a": {"x": 1, "y": 2}, "b": {"name": "one", "x": 1}}
    assert laid_over(under, {"a": {"y": 3}}) == {"a": {"x": 1, "y": 3}, "b": {"name": "one", "x": 1}}
    assert laid_over(under, {"b": {"name": "two"}})["b"] == {"name": "two"}
    assert laid_over(under, {"b": {"x": 2}})["b"] == {"name": "one", "x": 2}
    assert under == {"a": {"x": 1, "y": 2}, "b": {"name": "one", "x": 1}}


def test_what_is_written_plans_the_same(study, tmp_path):
    given = study(
        f'{FAMILIES}\ndata.pixels = [32]\n[[grid]]\nfamily = ["ViT"]\nseed = [2]\n[test]\nseed = 5\n[reach]\n'
    )
    write(given, tmp_path / "again.toml")
    assert plan(read(tmp_path / "again.toml")) == plan(given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tset]\ncount = 3\n", ["tset: unknown field; did you mean 'test'?"]),
        ("[test]\nsede = 3\n", ["test.sede: unknown field; did you mean 'seed'?"]),
        ("[axes]\nseed = 3\n", ["axes.seed: expected a list in brackets, as [3], got 3"]),
        ("[axes]\nseed = []\n", ["axes.seed: expected a list of 1 or more, got []"]),
        ('[test]\npreset = "deeplense/modle-1"\n', ["did you mean 'deeplense/model-1'?"]),
        ('[test]\nfolder = "no-such"\n', ["no-such: no such folder"]),
        ('[test]\nfolder = "."\ncount = 3\n', ["of folder, all images are taken"]),
        ('base = "gone.toml"\n', ["gone.toml cannot be read"]),
        (
            "[run]\ntraining.setps = 3\n[axes]\nbackbon = ['vit']\nseed = [1, 'x', 2]\n",
            [
                "3 faults",
                "backbon: unknown field; did you mean 'backbone'?",
                "training.setps: unknown field; did you mean 'steps'?",
                "(run 'vit, seed 1' and 2 more)",
                "seed: Input should be a valid integer, unable to parse string as an integer, got \"x\" (run 'vit, x')",
            ],
        ),
        ("[axes]\nm = [{label = 'a', seed = 1}]\nseed = [2]\n", ["seed: set by the axes m and seed"]),
        ("[axes]\nm = [{label = 'a', seed = 1}, {label = 'a', seed = 2}]\n", ["axes.m: two values are called 'a'"]),
        (
            "[axes]\nm = [{lable = 'a', seed = 1}]\n",
            ["axis m: no field of a run, so that each of its values needs a label"],
        ),
        (f"{FAMILIES}[[grid]]\nfamily = ['Vit']\n", ["grid.0.family: no value is labelled 'Vit'; did you mean 'ViT'?"]),
        ("[test]\npreset = 'deeplense/binary'\n", ["test.preset: deeplense/binary has classes"]),
        ("[run]\ntraining.devices = 2\n", ["a run of a study takes one device"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(study, text, said):
    with pytest.raises(InputError) as error:
        plan(study(text))
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_this_library_can_be_planned(path):
    assert len(plan(read(path))) > 1


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"task": {"name": "regress"}}, r"estimated in task\.targets; images of .* have "),
        ({"task": "mae", "backbone": "swin"}, "SwinV2 cannot do without"),
        ({"task": {"name": "dino", "momentum": 1.5}}, "the decay of a teacher"),
    ],
)
def test_what_a_task_cannot_do_is_found_when_runs_are_planned(sections, words):
    with pytest.raises(InputError, match=words):
        plan(Study(run=sections))
    with pytest.raises(InputError, match=words):
        plan(Study(before={"first": sections}))
