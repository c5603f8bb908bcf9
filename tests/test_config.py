"""Configuration follows constructors: TOML, overrides, all faults at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from arcformer.config import Component, Faults, Section, component, options_of, parse, read, write
from arcformer.errors import InputError
from arcformer.registry import Registry

OVENS: Registry[type] = Registry("oven")


@OVENS.register("gas")
class Gas:
    def __init__(self, room: int, *, flame: int = 3, pilot: bool = True): ...


@OVENS.register("electric")
class Electric:
    def __init__(self, room: int, *, watts: float, mode: Literal["fan", "grill"] = "fan"): ...


class Dough(Section):
    flour: float = Field(default=0.5, gt=0)
    hours: int = Field(default=12, ge=1)
    seeds: tuple[str, ...] = ()
    name: str = "plain"


class Bread(Section):
    loaves: int = 1
    dough: Dough = Dough()
    oven: component(OVENS, "gas") = Component(name="gas")
    tin: Path | None = None


def faults(path=None, overrides=()) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(Bread, path, overrides)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("one fault" if len(lines) == 1 else f"{len(lines)} faults")
    return [line.strip() for line in lines]


@pytest.fixture
def toml(tmp_path):
    def make(text: str) -> Path:
        path = tmp_path / "bread.toml"
        path.write_text(text)
        return path

    return make


def test_options_are_the_keyword_only_parameters():
    assert options_of(Gas)().model_dump() == {"flame": 3, "pilot": True}
    with pytest.raises(ValidationError, match="watts"):
        options_of(Electric)()


def test_without_a_file_there_are_the_defaults():
    bread = read(Bread)
    assert bread.dough.hours == 12
    assert (bread.oven.name, bread.oven.options) == ("gas", {"flame": 3, "pilot": True})


def test_a_file_and_then_overrides(toml):
    path = toml('loaves = 2\n[dough]\nflour = 1\nname = "rye"\n[oven]\nname = "electric"\nwatts = 1e3\n')
    bread = read(
        Bread, path, ["dough.flour=0.75", 'dough.seeds=["poppy", "sesame"]', "dough.name=spelt", "oven.mode=grill"]
    )
    assert (bread.loaves, bread.dough.flour, bread.dough.seeds) == (2, 0.75, ("poppy", "sesame"))
    assert bread.dough.name == "spelt"
    assert bread.oven.options == {"watts": 1000.0, "mode": "grill"}


def test_an_option_alone_is_that_of_the_default_component():
    assert read(Bread, None, ["oven.flame=5"]).oven == Component(name="gas", flame=5, pilot=True)


def test_a_component_is_given_by_its_name_alone():
    assert read(Bread, None, ["oven=gas"]).oven == Component(name="gas", flame=3, pilot=True)
    assert faults(overrides=["oven=gass"]) == ["oven: unknown oven 'gass': did you mean 'gas'? Known: electric, gas"]


def test_faults_come_below_an_optional_section():
    class Meal(Section):
        bread: Bread | None = None

    with pytest.raises(Faults) as caught:
        parse(Meal, {"bread": {"loavse": 2, "dough": {"flour": -1}}}, "dinner")
    assert str(caught.value).startswith("dinner: 2 faults\n")
    assert "bread.loavse: unknown field; did you mean 'loaves'? Known: dough, loaves, oven, tin" in caught.value.lines


def test_a_section_is_frozen():
    with pytest.raises(ValidationError):
        read(Bread).loaves = 3


def test_all_faults_come_at_once_with_their_paths_and_near_names(toml):
    path = toml(
        'loafs = 2\n[dough]\nflour = -1\nhours = "long"\nyeats = 1\n'
        '[oven]\nname = "electric"\nmode = "boil"\nwats = 2\n'
    )
    found = faults(path, ["loaves=many"])
    assert len(found) == 8
    assert any(line.startswith("loafs: unknown field; did you mean 'loaves'?") for line in found)
    assert any(line.startswith("loaves: ") and line.endswith('got "many"') for line in found)
    assert any(line.startswith("dough.flour: ") and "greater than 0, got -1" in line for line in found)
    assert any(line.startswith("dough.hours: ") for line in found)
    assert any(line.startswith("dough.yeats: unknown field; ") for line in found)
    assert any(line.startswith("oven.mode: ") and "'fan' or 'grill'" in line for line in found)
    assert any(line.startswith("oven.wats: unknown field; did you mean 'watts'?") for line in found)
    assert any(line.startswith("oven.watts: ") and "required" in line for line in found)


def test_an_unknown_component_is_named_with_near_ones():
    assert faults(overrides=["oven.name=gass"]) == [
        "oven: unknown oven 'gass': did you mean 'gas'? Known: electric, gas"
    ]


@pytest.mark.parametrize("override", ["loaves", "=3", " = 3"])
def test_an_override_has_a_name_and_a_value(override):
    with pytest.raises(InputError, match=r"not of the form section\.field=value"):
        read(Bread, None, [override])


def test_an_override_below_a_value_is_refused():
    with pytest.raises(InputError, match="'loaves' is a value, not a section"):
        read(Bread, None, ["loaves=2", "loaves.size=3"])


def test_files_that_cannot_be_read(tmp_path, toml):
    with pytest.raises(InputError, match=r"nowhere\.toml cannot be read \(No such file"):
        read(Bread, tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match=r"bread\.toml is not TOML"):
        read(Bread, toml("loaves: 2"))
    (tmp_path / "bread.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bread\.toml is not TOML"):
        read(Bread, tmp_path / "bread.toml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    loaves=st.integers(-(2**60), 2**60),
    flour=st.floats(0, 1e300, exclude_min=True),
    seeds=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    name=st.text(max_size=8),
    watts=st.floats(allow_nan=False, allow_infinity=False),
    tin=st.sampled_from([None, Path("tins/round")]),
)
def test_what_is_written_reads_back_to_the_same(tmp_path, loaves, flour, seeds, name, watts, tin):
    dough = Dough(flour=flour, seeds=seeds, name=name)
    bread = Bread(loaves=loaves, dough=dough, oven=Component(name="electric", watts=watts), tin=tin)
    write(bread, tmp_path / "bread.toml")
    again = read(Bread, tmp_path / "bread.toml")
    assert again == bread
    assert math.copysign(1, again.oven.options["watts"]) == math.copysign(1, watts)
