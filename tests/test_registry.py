"""Names for classes, registered or imported."""

from __future__ import annotations

import pytest

from arcformer.errors import InputError, near
from arcformer.registry import Registry


@pytest.fixture
def animals():
    registry = Registry("animal")
    for name in ("cat", "caracal", "dog"):
        registry.register(name)(object())
    return registry


def test_what_was_registered_comes_back(animals):
    class Otter: ...

    assert animals.register("otter")(Otter) is Otter
    assert animals.get("otter") is Otter
    assert "otter" in animals
    assert list(animals) == ["caracal", "cat", "dog", "otter"]
    assert animals.names("ca*") == ["caracal", "cat"]


def test_a_name_is_taken_once(animals):
    with pytest.raises(ValueError, match="animal 'cat' is registered already"):
        animals.register("cat")(object())


def test_an_unknown_name_is_told_its_neighbours(animals):
    with pytest.raises(
        InputError, match="unknown animal 'carakal': did you mean 'caracal'\\? Known: caracal, cat, dog"
    ):
        animals.get("carakal")
    with pytest.raises(InputError, match="unknown animal 'x': None is known"):
        Registry("animal").get("x")


def test_nothing_is_guessed_where_nothing_is_near():
    assert near("zebra", ["cat", "dog"]) == "Known: cat, dog"


def test_an_import_string_works_wherever_a_name_does(animals, tmp_path, monkeypatch):
    (tmp_path / "my_zoo.py").write_text("class Lynx: ...\n")
    monkeypatch.chdir(tmp_path)
    assert animals.get("my_zoo:Lynx").__name__ == "Lynx"
    assert animals.get("collections:OrderedDict").__name__ == "OrderedDict"


def test_a_prefix_makes_entries_and_shadows_the_module_of_its_name(animals):
    @animals.register_prefix("collections")
    def stuffed(name):
        return f"stuffed {name}"

    assert animals.get("collections:owl:barn") == "stuffed owl:barn"
    assert animals.prefixes() == {"collections:...": stuffed}
    assert "collections:owl" not in list(animals)
    with pytest.raises(InputError, match=r"Known: caracal, cat, collections:\.\.\., dog"):
        animals.get("collection")
    with pytest.raises(ValueError, match="prefix 'collections' of animals is registered already"):
        animals.register_prefix("collections")(stuffed)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("my_zoo:Lion", "Lion"),
        ("no_such_zoo:Lynx", "no_such_zoo"),
        (":Lynx", "no module"),
        (".my_zoo:Lynx", "no module"),
    ],
)
def test_an_import_that_fails_says_why(animals, tmp_path, monkeypatch, name, why):
    (tmp_path / "my_zoo.py").write_text("class Lynx: ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"animal '{name}' cannot be imported .*{why}.*expected package.module:Class"):
        animals.get(name)
