"""Objectives: what each sees and must not see, its teachers, its device, and how a collapsed run ends."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from lenses import CLASSES, SIDE, arcs, resnet, vit

from arcformer.errors import InputError
from arcformer.models import Backbone
from arcformer.tasks import TASKS
from arcformer.tasks.check import check_task
from arcformer.tasks.pretrain import JEPA, MAE, Draws, Objective, Physics, SimMIM
from arcformer.tasks.pretrain.masking import hide, on_pixels
from arcformer.tasks.pretrain.misfit import misfit
from arcformer.tasks.pretrain.physics import PARAMETERS
from arcformer.tasks.pretrain.teacher import Teacher
from arcformer.training.average import averaged

OBJECTIVES = {name: TASKS.get(name) for name in TASKS if issubclass(TASKS.get(name), Objective)}
TEACHERS = {"dino", "jepa"}
OPTIONS = {
    "mae": {"ratio": 0.5, "masks": "arcs", "loss": "mse", "decoder_blocks": 2},
    "simmim": {"ratio": 0.3, "cell": 4, "masks": "blocks", "loss": "mse"},
    "dino": {"prototypes": 64, "symmetries": "half-turn", "blur": 0.0, "shift": 0.0, "momentum": 0.9},
    "jepa": {"ratio": 0.3, "masks": "arcs", "predictor_blocks": 1, "momentum": 0.9},
    "simclr": {"temperature": 0.5, "projection": 8, "noise": 0.0, "symmetries": "none"},
    "physics": {"parameters": 0.5, "clean": 2.0, "loss": "chi2", "least_rank": 0.0},
}


def built(name, backbone: Backbone | None = None, **options):
    return OBJECTIVES[name](backbone or vit(), CLASSES, **options)


def test_all_objectives_are_here():
    assert set(OBJECTIVES) == set(OPTIONS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_they_keep_the_contract_with_every_option(name):
    check_task(OBJECTIVES[name], **OPTIONS[name])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_label_is_trained_on_and_none_is_needed(name):
    task, batch = built(name), arcs()
    other = replace(batch, labels=batch.labels.flip(0))
    losses = []
    for seen in (batch, other, replace(batch, labels=None, classes=())):
        torch.manual_seed(0)
        losses.append(copy.deepcopy(task).loss(seen)["loss"].item())
    assert losses[0] == losses[1] == losses[2]
    unlabelled = OBJECTIVES[name](vit(), ())
    metrics = unlabelled.metrics()
    metrics.update(unlabelled.eval().predict(other), other)
    assert set(metrics.compute()) == {"loss", "spread", "rank"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_tensors_are_made_where_the_batch_is_and_nothing_waits_for_them(name):
    """On the meta device a tensor of the CPU, and any look at a value, is an error."""
    task = built(name)
    batch = arcs().to("meta")
    task.to("meta")
    loss = task.loss(batch)["loss"]
    assert loss.device.type == "meta"
    loss.backward()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_they_train_in_bfloat16(name):
    task = built(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss(arcs())["loss"]
        made = task.predict(arcs())
    loss.backward()
    assert loss.isfinite()
    assert made.features.dtype == torch.float32


@pytest.mark.parametrize("name", OBJECTIVES)
def test_backbones_without_tokens_are_taken_or_refused_in_words(name):
    if name in ("mae", "jepa"):
        with pytest.raises(InputError, match=f"{name} leaves out tokens, which ResNet.*d4vit, vit"):
            built(name, resnet())
    else:
        check_task(lambda backbone, classes: built(name, resnet()))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_images_of_several_channels_and_uneven_sides(name):
    for side in (18, 21):
        one = arcs(side=side)
        batch = one.map(lambda t: t.repeat(1, 3, 1, 1) if t.ndim == 4 else t)
        backbone = type(vit())(side, 3, dim=32, depth=1, heads=2, patch=4, stem="patch")
        task = built(name, backbone).eval()
        assert task.loss(batch)["loss"].isfinite()
        made = task.predict(batch)
        for tensor in (getattr(made, "image", None), getattr(made, "clean", None)):
            assert tensor is None or tensor.shape == batch.images.shape


@pytest.mark.parametrize("cls", [MAE, SimMIM])
def test_pixels_are_filled_in_from_what_is_shown_alone(cls):
    task, batch = cls(vit(), CLASSES), arcs()

    def filled(images):
        found, hidden = task.filled(replace(batch, images=images), Draws(torch.Generator().manual_seed(1)))
        return torch.where(hidden, found, 0), hidden

    found, hidden = filled(batch.images)
    assert torch.allclose(found, filled(batch.images + 5 * hidden)[0], atol=1e-6)
    assert not torch.allclose(found, filled(batch.images + 5 * ~hidden)[0], atol=1e-5)


def test_features_are_predicted_from_what_is_shown_alone():
    task, batch, made = JEPA(vit(), CLASSES), arcs(), []
    task.predictor.register_forward_hook(lambda module, given, found: made.append(found))
    _, cells = hide(batch.images, (4, 4), 4, ratio=0.6, masks="blocks", draws=Draws(torch.Generator().manual_seed(1)))
    hidden = on_pixels(cells, (4, 4), 4, SIDE, SIDE)
    for images in (batch.images, batch.images + 5 * hidden, batch.images + 5 * ~hidden):
        task.losses(replace(batch, images=images), Draws(torch.Generator().manual_seed(1)))
    assert torch.allclose(made[0], made[1], atol=1e-6)
    assert not torch.allclose(made[0], made[2], atol=1e-5)


@pytest.mark.parametrize("cls", [MAE, SimMIM])
def test_a_reconstruction_keeps_what_was_shown(cls):
    batch = arcs()
    made = cls(vit(), CLASSES).eval().predict(batch)
    assert torch.equal(made.image[~made.hidden], batch.images[~made.hidden])
    assert not torch.allclose(made.image[made.hidden], batch.images[made.hidden], atol=1e-3)


@pytest.mark.parametrize("size", ["tiny", "small", "classifier-3x3", "autoencoder-4x4"])
def test_the_decoder_is_light(size):
    backbone = type(vit())(64, 1, size=size)
    blocks = sum(p.numel() for p in MAE(backbone, CLASSES, decoder_blocks=2).decoder.blocks.parameters())
    assert blocks < sum(p.numel() for p in backbone.parameters()) / 7.5


def test_the_misfit_of_a_perfect_image_is_one_and_bad_pixels_do_not_count():
    batch = arcs(200)
    clean = batch.extras["clean"]
    assert misfit(clean, batch.images, batch, "chi2").mean().item() == pytest.approx(1, abs=0.02)
    assert misfit(clean, batch.images, batch, "mse").mean().item() == pytest.approx(0.01, rel=0.02)
    assert misfit(clean, batch.images, replace(batch, noise_std=None), "chi2").mean().item() == pytest.approx(
        0.01, rel=0.02
    )
    bad = torch.zeros_like(clean, dtype=torch.bool)
    bad[..., :3, :] = True
    spoilt = replace(batch, images=batch.images + 1e3 * bad, mask=bad)
    assert misfit(clean, spoilt.images, spoilt, "chi2").mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", sorted(TEACHERS))
def test_a_teacher_follows_and_is_there_once(name):
    task = built(name, momentum=0.75)
    frozen = {id(p) for p in task.frozen_parameters()}
    trained = [p for p in task.parameters() if id(p) not in frozen]
    assert not any(p.requires_grad for p in task.frozen_parameters())
    assert sum(p.numel() for p in task.frozen_parameters()) <= sum(p.numel() for p in trained)
    task.train()
    assert not any(m.training for t in task.modules() if isinstance(t, Teacher) for m in t.modules())
    before = copy.deepcopy(task.teacher.network.state_dict())
    with torch.no_grad():
        for parameter in task.backbone.parameters():
            parameter.add_(1.0)
    task.after_step(1)
    for key, there in task.teacher.network.state_dict().items():
        torch.testing.assert_close(there, before[key] + 0.25)
    average = averaged(task)
    assert {id(p) for p in average.frozen_parameters()} == frozen  # no copy of a copy
    assert not {id(p) for p in average.parameters()} & {id(p) for p in trained}
    torch.testing.assert_close(average.eval().predict(arcs()).loss, task.eval().predict(arcs()).loss)


class TestPhysics:
    def test_constants_and_what_the_label_tells_are_left_out(self):
        task, batch = Physics(vit(), CLASSES), arcs(600)
        told = torch.randn(600).double() * 0.1 + batch.labels  # a halo of its own for each class
        batch = replace(
            batch, extras=batch.extras | {"slope": told, "gamma1": torch.where(batch.labels == 0, 0.0, 0.05)}
        )
        task.prepare([batch[:300], batch[300:]])
        assert [name for name, varies in zip(PARAMETERS, task.used.tolist(), strict=True) if varies] == ["source_x"]
        at, there = PARAMETERS.index("source_x"), batch.extras["source_x"]
        assert task.standard.mean[at].item() == pytest.approx(there.mean().item(), abs=1e-6)
        assert task.standard.std[at].item() == pytest.approx(there.std(correction=0).item(), rel=1e-6)
        assert set(task.table(task.predict(batch[:3]))) == {"source_x"}

    def test_without_labels_only_constants_are_left_out(self):
        task, batch = Physics(vit(), ()), arcs(60)
        told = torch.randn(60).double() * 0.1 + batch.labels
        task.prepare([replace(batch, labels=None, classes=(), extras=batch.extras | {"slope": told})])
        assert [name for name, varies in zip(PARAMETERS, task.used.tolist(), strict=True) if varies] == [
            "slope",
            "source_x",
        ]

    def test_no_parameter_of_substructure_is_asked_for(self):
        asked = " ".join(PARAMETERS)
        for word in ("subhalo", "point", "line", "vortex", "axion", "f_sub", "mass", "count", "clump"):
            assert word not in asked

    def test_images_without_truth_are_refused_in_words(self):
        task = Physics(vit(), CLASSES)
        with pytest.raises(InputError, match=r"noise-free image and the parameters.*simulated on the fly"):
            task.loss(replace(arcs(), extras={}))
        with pytest.raises(InputError, match="the parameters of these images cannot be had"):
            task.loss(replace(arcs(), extras={"clean": arcs().images}))
        assert Physics(vit(), CLASSES, parameters=0.0).loss(replace(arcs(), extras={"clean": arcs().images}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_collapsed_run_is_ended_and_a_sound_one_is_not(name):
    task, batch = built(name, least_rank=1.5).eval(), arcs(48)

    def values():
        metrics = task.metrics()
        with torch.no_grad():
            metrics.update(task.predict(batch), batch)
        return metrics.compute()

    task.judge(values())
    for parameter in task.backbone.norm.parameters():
        torch.nn.init.ones_(parameter)
    torch.nn.init.zeros_(task.backbone.norm.weight)
    with pytest.raises(InputError, match=r"collapsed: .* effective rank of 1\.00, below task\.least_rank = 1\.5"):
        task.judge(values())
    built(name, least_rank=0.0).judge(values())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mae", {"ratio": 1.0}, "between 0 and 1"),
        ("mae", {"decoder_blocks": 3}, "1 or 2 blocks"),
        ("mae", {"loss": "chi"}, "did you mean 'chi2'"),
        ("simmim", {"cell": 0}, "at least 1 pixel"),
        ("dino", {"teacher_temperature": 0.2}, "not less sharp"),
        ("dino", {"momentum": 1.0}, "decay of a teacher"),
        ("simclr", {"temperature": 0.0}, "positive"),
        ("physics", {"parameters": 0.0, "clean": 0.0}, "one positive"),
        ("jepa", {"least_rank": -1.0}, "at least 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(name, options, words):
    with pytest.raises(InputError, match=words):
        built(name, **options)


def test_a_backbone_that_takes_no_images_is_named():
    class Blind(Backbone):
        dim = 4

        def features(self, images, context=None):
            raise ValueError("no")

    with pytest.raises(InputError, match="Blind takes images of none of 1 to 16 channels"):
        SimMIM(Blind(), CLASSES)
