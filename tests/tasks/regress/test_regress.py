"""Regression: its units, its views, its metrics, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sklearn import metrics as sklearn

from arcformer.batch import LensBatch
from arcformer.data.symmetry import Turns
from arcformer.errors import InputError
from arcformer.models import VisionTransformer
from arcformer.tasks import Posterior, Regress
from arcformer.tasks.check import check_task
from arcformer.tasks.regress import HEADS

NAMES = ("theta_E", "source_x", "source_y", "e1", "e2", "log10_axion_mass_eV")
CLASSES = ("no_sub", "cdm", "axion")
CENTRE = torch.tensor([1.2, 0.0, 0.1, 0.0, 0.05, -23.0])
SCALE = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.1, 0.6])


def built(*targets, **options):
    return Regress(VisionTransformer(16, 1, dim=16, depth=1, heads=2, patch=4), CLASSES, targets=targets, **options)


def regress(*targets, seed=0, **options):
    """A task all of whose parameters matter, prepared."""
    torch.manual_seed(seed)
    task = built(*targets, **options)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    task.prepare([lenses(300, seed=9)])
    return task.eval()


def lenses(images=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    targets = CENTRE + SCALE * torch.randn(images, len(NAMES), generator=rng)
    return LensBatch(
        torch.randn(images, 1, 16, 16, generator=rng),
        labels=torch.arange(images) % 3,
        classes=CLASSES,
        targets=targets,
        target_names=NAMES,
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("views", ["one", "dihedral"])
def test_it_keeps_the_contract_with_every_option(head, views):
    names = ("theta_E_arcsec", "log10_axion_mass_eV")
    check_task(Regress, targets=names, head=head, views=views, pool="attention", dropout=0.1, recalibrate=False)
    check_task(Regress, targets=names[1:], head=head, views=views)


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_numbers_are_in_the_targets_own_units_and_order(head):
    task, batch = regress("log10_axion_mass_eV", "theta_E", head=head), lenses()
    assert task.standard.mean.tolist() == pytest.approx([-23, 1.2], abs=0.1)
    assert task.standard.std.tolist() == pytest.approx([0.6, 0.3], rel=0.1)
    made = task.predict(batch)
    assert made.samples.shape == (8, 256, 2)
    torch.testing.assert_close(made.mean, made.samples.mean(1))
    torch.testing.assert_close(made.std, made.samples.std(1))
    inside = (made.samples >= made.low[:, None]) & (made.samples <= made.high[:, None])
    torch.testing.assert_close(inside.float().mean(1), torch.full((8, 2), 0.68), atol=0.01, rtol=0)
    assert torch.equal(task.truth_of(batch), batch.targets[:, [5, 0]])
    table = task.table(made)
    assert list(table)[:4] == [f"log10_axion_mass_eV{end}" for end in ("", "_std", "_low", "_high")]
    assert table["theta_E_high"] == made.high[:, 1].tolist()


@pytest.mark.parametrize("views", ["one", "dihedral"])
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_the_density_is_normalised_in_physical_units_and_samples_follow_it(head, views):
    task = regress("source_x", "source_y", head=head, views=views)
    batch = lenses(2)
    samples = task.posterior(batch, 8192)
    made = task.predict(batch)
    for k in range(2):
        centre, width = samples[k].mean(0), samples[k].std(0)
        axis = torch.linspace(-8, 8, 161)
        grid = centre + width * torch.cartesian_prod(axis, axis)
        alike = torch.full((len(grid),), k)
        density = task.log_prob(made.map(lambda t, alike=alike: t[alike]), grid).double().exp() * width.prod() * 0.1**2
        assert density.sum().item() == pytest.approx(1, abs=0.01)
        mean = density @ grid.double()
        torch.testing.assert_close(mean.float(), centre, atol=0.03 * width.max().item(), rtol=0)
        variance = density @ (grid.double() - mean).square()
        torch.testing.assert_close(variance.sqrt().float(), width, rtol=0.04, atol=0)


@torch.no_grad()
def test_the_posterior_of_the_turned_image_is_the_turned_posterior():
    names = ("source_x", "source_y", "e1", "e2", "theta_E")
    task, batch = regress(*names, views="dihedral", head="flow"), lenses(3)
    made, values = task.predict(batch), task.truth_of(batch)
    for turns in Turns.eight():
        turned = replace(batch, images=turns.planes(batch.images))
        found = task.predict(turned)
        expected = turns.values(made.mean, names)
        torch.testing.assert_close(found.mean, expected, atol=0.02, rtol=0.02)
        of_truth = task.log_prob(found, turns.values(values, names))
        torch.testing.assert_close(of_truth, task.log_prob(made, values), atol=1e-3, rtol=1e-4)
    one = regress(*names, head="flow")
    assert not torch.allclose(task.predict(batch).mean, one.predict(batch).mean, atol=1e-3)


@torch.no_grad()
def test_of_views_as_many_samples_are_given_as_were_asked_for_and_each_counts_alike():
    task, batch = regress("theta_E", views="dihedral", head="gaussian"), lenses(2)
    assert task.posterior(batch, 13).shape == (2, 13, 1)
    found = task.posterior(batch, 8 * 512)[0, :, 0].unflatten(0, (512, 8))  # the views in turn
    place, _ = task.head.gaussian(task.predict(batch).features[0])
    torch.testing.assert_close(found.mean(0), task.standard.physical(place)[:, 0], atol=1e-3, rtol=1e-3)


def test_the_loss_does_not_depend_on_the_unit_of_the_targets():
    batch, scale = lenses(), torch.tensor([206265.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    other = replace(batch, targets=batch.targets * scale)
    losses = []
    for seen in (batch, other):
        task = regress("theta_E", "e1")
        task.prepare([seen])
        losses.append(task.loss(seen)["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("targets", [("log10_axion_mass_eV",), ("theta_E", "log10_axion_mass_eV")])
@torch.no_grad()
def test_metrics_are_those_of_scikit_learn(targets):
    task, batch = regress(*targets), lenses(300)
    made, metrics = task.predict(batch), task.metrics()
    for rows in (slice(0, 100), slice(100, 300)):
        metrics.update(made.map(lambda t, rows=rows: t[rows]), batch[rows])
    found = {name: value.item() for name, value in metrics.compute().items()}
    truth, mean = task.truth_of(batch).numpy(), made.mean.numpy()
    expected = {"nll": -task.log_prob(made, task.truth_of(batch)).mean().item()}
    for k, name in enumerate(targets):
        inside = (made.low[:, k] <= task.truth_of(batch)[:, k]) & (task.truth_of(batch)[:, k] <= made.high[:, k])
        expected |= {
            f"mae/{name}": sklearn.mean_absolute_error(truth[:, k], mean[:, k]),
            f"rmse/{name}": sklearn.root_mean_squared_error(truth[:, k], mean[:, k]),
            f"r2/{name}": sklearn.r2_score(truth[:, k], mean[:, k]),
            f"coverage_68/{name}": inside.float().mean().item(),
        }
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_calibration_makes_validation_more_likely_and_twice_is_as_once(head):
    task, batch = regress("theta_E", "e1", head=head, views="dihedral"), lenses(200)
    before = task.predict(batch)
    nll = -task.log_prob(before, task.truth_of(batch)).mean()
    task.calibrate([before.map(lambda t: t[:60]), before.map(lambda t: t[60:])], [batch[:60], batch[60:]])
    after = task.predict(batch)
    assert torch.equal(after.features, before.features)
    assert -task.log_prob(after, task.truth_of(batch)).mean() < nll - 1e-3
    spread = task.head.spread.clone()
    task.calibrate([after], [batch])
    torch.testing.assert_close(task.head.spread, spread, rtol=1e-2, atol=0)
    plain = regress("theta_E", "e1", head=head, recalibrate=False)
    plain.calibrate([plain.predict(batch)], [batch])
    assert plain.head.spread.tolist() == [1, 1]


@pytest.mark.parametrize("head", HEADS)
def test_it_trains_in_bfloat16_with_an_exact_head(head):
    task, batch = regress("theta_E", "source_x", head=head).train(), lenses()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss(batch)["loss"]
        made = task.predict(batch)
    loss.backward()
    assert loss.isfinite()
    assert {t.dtype for t in (made.mean, made.samples, made.features)} == {torch.float32}


@pytest.mark.parametrize("head", ["point", "gaussian"])  # zuko's coupling layers look at their masks
def test_tensors_are_made_where_the_features_are_and_training_waits_for_none(head):
    task, batch = regress("theta_E", "source_x", head=head).to("meta"), lenses().to("meta")
    features = torch.zeros(8, task.head.inputs, device="meta", requires_grad=True)
    loss = task.head.loss(features, task.standard.scaled(task.truth_of(batch)))
    loss.backward()
    assert loss.device.type == "meta"


def test_it_is_built_without_memory():
    with torch.device("meta"):
        task = built("theta_E", "e1")
    assert {tensor.device.type for tensor in task.state_dict().values()} == {"meta"}


class TestRefused:
    def test_no_targets(self):
        with pytest.raises(InputError, match="name what is to be estimated in targets"):
            built()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"targets": ("e1", "e1")}, "'e1' is named twice"),
            ({"targets": ("e1",), "head": "flows"}, "unknown head 'flows': did you mean 'flow'"),
            ({"targets": ("e1",), "views": "dihedrals"}, "unknown views 'dihedrals': did you mean 'dihedral'"),
            ({"targets": ("source_x",), "views": "dihedral"}, r"task\.views = 'dihedral': .*'source_y', which is not"),
            ({"targets": ("phi",), "views": "dihedral"}, "'phi' is an angle"),
        ],
    )
    def test_options_that_make_no_sense(self, options, words):
        with pytest.raises(InputError, match=words):
            built(*options.pop("targets"), **options)

    def test_a_target_that_never_varies(self):
        batch = lenses(60)
        fixed = batch.targets.index_fill(1, torch.tensor([0]), 1.28)
        with pytest.raises(InputError, match=r"theta_E is 1\.28 in all of 60 training images.*leave it out"):
            regress("e1", "theta_E").prepare([replace(batch, targets=fixed)])

    def test_a_target_that_some_classes_do_not_have(self):
        batch = lenses(60)
        mass = torch.where(batch.labels == 2, batch.targets[:, 5], torch.nan)
        batch = replace(batch, targets=torch.cat([batch.targets[:, :5], mass[:, None]], 1))
        task = regress("log10_axion_mass_eV")
        words = r'images of no_sub, cdm have no log10_axion_mass_eV; set data\.only = \["axion"\]'
        with pytest.raises(InputError, match=words):
            task.prepare([batch[:1], batch[1:]])
        with pytest.raises(InputError, match="images of"), torch.no_grad():
            task.metrics().update(task.predict(batch), batch)
        with pytest.raises(InputError, match="not a number for 40 of 60 images"):
            task.prepare([replace(batch, labels=None, classes=())])
        nowhere = replace(batch, targets=torch.full_like(batch.targets, math.nan))
        with pytest.raises(InputError, match=r"no_sub, cdm, axion have no .*leave it out"):
            task.prepare([nowhere])

    def test_images_in_other_units_than_the_weights(self):
        task, batch = regress("log10_axion_mass_eV"), lenses()
        other = replace(batch, target_names=(*NAMES[:5], "axion_mass_eV"))
        words = "log10_axion_mass_eV was learned, and these images have .*, axion_mass_eV; .* same units"
        for call in (task.loss, lambda b: task.metrics().update(task.predict(b), b)):
            with pytest.raises(InputError, match=words):
                call(other)
        with pytest.raises(InputError, match="have no targets"):
            task.loss(replace(batch, targets=None, target_names=()))

    def test_images_that_are_not_square(self):
        with pytest.raises(InputError, match="16 x 20 pixels"):
            regress("theta_E", views="dihedral").predict(LensBatch(torch.zeros(1, 1, 16, 20)))


def test_posteriors_are_collated():
    task, batch = regress("theta_E"), lenses(10)
    with torch.no_grad():
        whole = task.predict(batch)
    joined = Posterior.collate([whole.map(lambda t: t[:4]), whole.map(lambda t: t[4:])])
    assert len(joined) == 10
    assert torch.equal(joined.samples, whole.samples)
