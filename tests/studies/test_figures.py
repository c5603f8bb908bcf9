from dataclasses import replace

import numpy as np
import pytest
import torch

from arcformer.batch import LensBatch
from arcformer.studies.classification import figures
from arcformer.studies.evaluate import evaluate
from arcformer.studies.figures import learning_curve
from arcformer.studies.pictures import image_grid, portrait
from arcformer.studies.style import colours, png_uri, svg_uri


@pytest.fixture
def evaluation(run, rings):
    return evaluate(run, [rings(60, leak=0.2)], name="test")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_roc_has_a_panel_for_each_class_with_both_areas(evaluation):
    panels = figures.roc(evaluation).axes
    assert [axes.get_title(loc="left").split()[0] for axes in panels] == list(evaluation.classes)
    for axes, name in zip(panels, evaluation.classes, strict=True):
        network, trivial = (text.get_text() for text in axes.get_legend().get_texts())
        assert network == f"network {evaluation.report.classes[name].auc.value:.3f}"
        assert trivial == f"trivial {evaluation.leaks.per_class[name].value:.3f}"


def test_confusion_counts_every_image_once(evaluation):
    cells = texts(figures.confusion(evaluation).axes[0])
    counts = [int(cell) for cell in cells if not cell.endswith("%")]
    right = (evaluation.probabilities.argmax(1) == evaluation.labels).sum()
    assert sum(counts) == len(evaluation)
    assert sum(counts[::4]) == right


def test_reliability_draws_a_point_for_each_bin_with_images_and_counts_them_all(evaluation):
    upper, lower = figures.reliability(evaluation).axes
    heights = [bar.get_height() for bar in lower.patches]
    assert sum(heights) == len(evaluation)
    assert len(upper.containers) == np.count_nonzero(heights)


def test_the_learning_curve_counts_images_and_rings_the_best():
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None}, {"step": 3, "loss": 0.5}]
    log += [{"step": step, "validation": {"auroc": 0.1 * step, "nll": 9}} for step in (1, 3)]
    loss, auroc = learning_curve(log, "auroc", images_per_step=64, best_step=3).axes
    assert loss.lines[0].get_xdata().tolist() == [64, 192]
    assert auroc.lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.3])
    assert auroc.lines[1].get_xdata().tolist() == [192]


def test_a_run_without_a_log_line_still_draws():
    assert svg_uri(learning_curve([], "auroc", 64))


def test_images_stand_in_the_row_of_their_class(rings):
    batch = rings(7)
    drawn = image_grid(batch)
    shown = [axes for axes in drawn.axes if axes.images]
    assert len(shown) == 7
    assert [axes.get_ylabel() for axes in drawn.axes if axes.get_ylabel() in batch.classes] == list(batch.classes)
    assert drawn.axes[-1].get_ylabel() == "flux per pixel [counts]"
    stretches = {(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in shown}
    assert len(stretches) == 1  # so that images can be compared


def test_the_scale_bar_is_as_long_as_it_says(rings):
    axes = portrait(rings(1, side=60)).axes[0]  # 6 arcsec
    assert texts(axes) == ["1″"]
    (bar,) = axes.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(10)


@pytest.mark.parametrize("images", [torch.zeros(1, 1, 9, 9), torch.full((1, 3, 9, 7), -5.0), torch.ones(1, 1, 9, 9)])
def test_any_image_can_be_drawn(images):
    batch = LensBatch(images)
    everything_bad = replace(batch, mask=torch.ones_like(images, dtype=torch.bool))
    for each in (batch, everything_bad):
        assert png_uri(portrait(each, {"no_sub": 0.2, "cdm": 0.8})).startswith("data:image/png;base64,")


def test_the_same_figure_is_the_same_text(evaluation):
    assert svg_uri(figures.confusion(evaluation)) == svg_uri(figures.confusion(evaluation))


def test_a_class_keeps_its_colour_when_others_are_left_out():
    assert colours(("no_sub", "cdm", "axion"))["cdm"] == colours(("no_sub", "cdm"))["cdm"]
