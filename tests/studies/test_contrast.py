"""Differences between runs, over the same images and seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from arcformer.errors import InputError
from arcformer.metrics.classification import weighted_auc
from arcformer.studies.contrast import contrasts, write_contrasts
from arcformer.studies.place import Outcome, Place
from arcformer.studies.plan import plan
from arcformer.studies.study import ContrastSection, Study, TestSection

ASKED = ContrastSection(axis="data.labels", against="10")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=400)


def probabilities(signal: float) -> np.ndarray:
    logits = RNG.normal(size=(400, 3)) + signal * np.eye(3)[LABELS]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def study(**others: object) -> Study:
    axes = {"data.labels": [10, 30], "seed": [1, 2, 3]}
    return Study(axes=axes, test=TestSection(count=30), contrast=ASKED, **others)


@pytest.fixture
def tested(tmp_path: Path) -> list[Outcome]:
    """Runs with ten labels that know a little, and with thirty that know more."""
    found = []
    for k, one in enumerate(plan(study())):
        place = Place(tmp_path / str(k), TestSection(count=30))
        place.folder.mkdir()
        kept = {"labels": LABELS, "probabilities": probabilities(0.5 if one.axes["data.labels"] == "10" else 1.5)}
        save_file(kept, place.of_each, {"evaluation": "ClassEvaluation"})
        found.append(Outcome(one, place, "done", "", {}, {}))
    return found


def test_the_difference_is_the_mean_over_seeds_of_that_on_the_same_images(tested: list[Outcome], tmp_path: Path):
    (one,) = contrasts(ASKED, tested)
    assert (one.axes, one.against, one.seeds) == ({"data.labels": "30"}, "10", 3)
    areas = []
    for outcome in tested:
        p = load_file(outcome.place.of_each)["probabilities"]
        areas.append(np.mean([weighted_auc(p[:, k], k == LABELS, np.ones((1, 400)))[0] for k in range(3)]))
    auroc = one.differences["auroc"]
    assert auroc.value == pytest.approx(np.mean(areas[3:]) - np.mean(areas[:3]))
    assert 0 < auroc.low < auroc.value < auroc.high
    write_contrasts([one], tmp_path)
    rows = json.loads((tmp_path / "contrasts.json").read_text())
    assert rows[0]["name"] == "difference auroc 30 minus 10, 3 seeds"
    assert rows[0]["low"] == auroc.low


def test_only_seeds_that_both_have_are_compared(tested: list[Outcome]):
    tested[0].place.of_each.unlink()
    (one,) = contrasts(ASKED, tested)
    assert one.seeds == 2
    for outcome in tested[1:3]:
        outcome.place.of_each.unlink()
    assert contrasts(ASKED, tested) == []


def test_runs_are_compared_with_several_and_these_not_among_themselves(tested: list[Outcome]):
    asked = ContrastSection(axis="data.labels", against=["10", "30"])
    assert contrasts(asked, tested) == []
    more = {"axes": {"data.labels": [10, 30, 100], "seed": [1, 2, 3]}}
    for k, one in enumerate(plan(study().model_copy(update=more))[6:]):
        place = Place(tested[k].place.folder / "more", TestSection(count=30))
        place.folder.mkdir()
        kept = {"labels": LABELS, "probabilities": probabilities(2.0)}
        save_file(kept, place.of_each, {"evaluation": "ClassEvaluation"})
        tested.append(Outcome(one, place, "done", "", {}, {}))
    found = contrasts(asked, tested)
    assert [(one.label, one.against) for one in found] == [("100", "10"), ("100", "30")]
    assert found[0].differences["auroc"].value > found[1].differences["auroc"].value > 0


def test_other_images_are_no_comparison(tested: list[Outcome]):
    kept = {"labels": np.roll(LABELS, 1), "probabilities": probabilities(1.0)}
    save_file(kept, tested[0].place.of_each, {"evaluation": "ClassEvaluation"})
    with pytest.raises(InputError, match=r"differ in data\.labels were not tested on the same images"):
        contrasts(ASKED, tested)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"contrast": ContrastSection(axis="data.label", against="10")}, r"no axis 'data\.label'; did you mean"),
        ({"contrast": ContrastSection(axis="data.labels", against="20")}, r"no run has data\.labels '20'; .*10"),
        ({"contrast": ContrastSection(axis="seed", against="1")}, "seeds are what runs are compared over"),
        ({"test": None}, "compared on test images"),
    ],
)
def test_what_cannot_be_compared_is_said_when_runs_are_planned(changed: dict, words: str):
    with pytest.raises(InputError, match=words):
        plan(study().model_copy(update=changed))


def test_regressions_are_compared_by_their_errors_on_the_same_images_only(tested: list[Outcome]):
    for k, outcome in enumerate(tested):
        off = {"theta_E": np.full(400, 0.1 if k < 3 else 0.3)}
        save_file(off, outcome.place.of_each, {"evaluation": "PosteriorEvaluation", "images": "these"})
    (one,) = contrasts(ASKED, tested)
    assert one.differences["mae_theta_E"].value == pytest.approx(0.2)
    save_file(off, tested[0].place.of_each, {"evaluation": "PosteriorEvaluation", "images": "those"})
    with pytest.raises(InputError, match="not tested on the same images"):
        contrasts(ASKED, tested)
    save_file({"e1": off["theta_E"]}, tested[0].place.of_each, {"evaluation": "PosteriorEvaluation", "images": "these"})
    assert contrasts(ASKED, tested) == []
