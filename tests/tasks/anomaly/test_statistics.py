"""Every statistic keeps its contract, and says what independent computations say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import VisionTransformer
from arcformer.models.check import BrokenContract
from arcformer.tasks import Detect
from arcformer.tasks.anomaly import STATISTICS, Mahalanobis, Nearest, Scores, Statistic
from arcformer.tasks.anomaly.check import check_statistic
from arcformer.tasks.anomaly.knn import Reservoir
from arcformer.tasks.anomaly.manifold import Manifold
from arcformer.tasks.anomaly.moments import Moments
from arcformer.tasks.anomaly.reconstruction import Reconstructed, gauss_newton
from arcformer.tasks.anomaly.residual import Residual
from arcformer.tasks.check import check_task

WAYS = {
    "reconstruction": {"latent": 0, "score": "mse", "loss": "mse"},
    "masked": {"masks": 2, "cells": 0, "smooth": 0.0},
    "knn": {"bank": 10, "k": 20},
    "flow": {"components": 3, "transforms": 2},
}
"""Options under which a statistic goes another way."""


@pytest.mark.parametrize("name", list(STATISTICS))
def test_registered_statistics_keep_the_contract(name):
    check_statistic(STATISTICS.get(name))


@pytest.mark.parametrize("name", list(WAYS))
def test_they_keep_it_with_other_options(name):
    check_statistic(STATISTICS.get(name), **WAYS[name])


@pytest.mark.parametrize("name", [name for name in STATISTICS if name != "reconstruction"])
def test_the_task_keeps_its_contract_with_every_statistic(name):
    check_task(Detect, statistic=name, contamination=0.1)


class Norm(Statistic):
    """Sound: the brightness of the image."""

    def score(self, batch):
        return Scores(batch.images.square().flatten(1).mean(1), batch.images.sum(1))


class ComparesWithNeighbours(Norm):
    def score(self, batch):
        scores = super().score(batch)
        return Scores(scores.score - scores.score.mean(), scores.sigmas)


class KeepsTheLastBatch(Norm):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.register_buffer("level", torch.zeros(()))

    def fit(self, batches):
        for batch in batches:
            self.level = batch.images.square().mean() * 100

    def score(self, batch):
        scores = super().score(batch)
        return Scores(scores.score - self.level, scores.sigmas)


class ForgetsWhatItFitted(KeepsTheLastBatch):
    def fit(self, batches):
        self.zero = torch.cat([batch.images for batch in batches]).mean()

    def score(self, batch):
        return super().score(batch).map(lambda x: x - getattr(self, "zero", 0.0))


class HoldsTheBackbone(Norm):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.network = backbone


class LooksAtTheTruth(Norm):
    def score(self, batch):
        scores = super().score(batch)
        return (
            Scores(scores.score + batch.extras["clean"].flatten(1).mean(1), scores.sigmas) if batch.extras else scores
        )


def test_a_sound_statistic_passes():
    check_statistic(Norm)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (ComparesWithNeighbours, "does not depend on those beside it"),
        (KeepsTheLastBatch, "in small batches, it scores alike"),
        (ForgetsWhatItFitted, "saved as safetensors"),
        (HoldsTheBackbone, "no part of it"),
        (LooksAtTheTruth, "Without labels"),
    ],
)
def test_a_broken_clause_is_named(broken, words):
    with pytest.raises(BrokenContract, match=f"{broken.__name__} breaks the clause.*{words}"):
        check_statistic(broken)


@pytest.mark.parametrize(("images", "dim"), [(20, 30), (200, 5), (3, 2)])
def test_the_shrunk_covariance_is_sklearns(images, dim):
    x = torch.randn(images, dim, generator=torch.Generator().manual_seed(0)) @ torch.randn(dim, dim) + 100
    moments = Moments()
    for some in x.split(7):
        moments.add(some)
    oracle = LedoitWolf().fit(x.double().numpy())
    np.testing.assert_allclose(moments.shrunk().numpy(), oracle.covariance_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(moments.mean.numpy(), oracle.location_, rtol=1e-9)


def test_mahalanobis_distances_are_sklearns():
    backbone = VisionTransformer(16, 1, dim=16, depth=1, heads=2, patch=4).eval()
    images = torch.randn(60, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    statistic = Mahalanobis(backbone)
    statistic.fit([LensBatch(images=some) for some in images[:50].split(20)])
    features = backbone.features(images)[-1].mean().detach().double().numpy()
    oracle = LedoitWolf().fit(features[:50]).mahalanobis(features[50:])
    found = statistic.score(LensBatch(images=images[50:])).score
    np.testing.assert_allclose(found.numpy(), oracle, rtol=2e-3)


def test_the_distance_to_the_kth_neighbour_is_sklearns():
    backbone = VisionTransformer(16, 1, dim=16, depth=1, heads=2, patch=4).eval()
    images = torch.randn(60, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    statistic = Nearest(backbone, k=3)
    statistic.fit([LensBatch(images=some) for some in images[:50].split(20)])
    features = backbone.features(images)[-1].mean().detach().double().numpy()
    features /= features[:50].std(0)
    far, _ = NearestNeighbors(n_neighbors=3).fit(features[:50]).kneighbors(features[50:])
    np.testing.assert_allclose(statistic.score(LensBatch(images=images[50:])).score.numpy(), far[:, 2], rtol=1e-4)


def test_a_reservoir_is_bounded_and_keeps_all_alike():
    kept = torch.zeros(100)
    for seed in range(400):
        reservoir = Reservoir(20, seed)
        for some in torch.arange(100.0)[:, None].split(9):
            reservoir.add(some)
        assert len(reservoir.kept) == 20
        kept[reservoir.kept[:, 0].long()] += 1
    assert abs(kept[:50].sum() / kept.sum() - 0.5) < 0.03  # 8000 draws: five sigmas
    assert kept.min() > 40  # of 80 that are expected, five sigmas


def test_gauss_newton_gives_the_latent_vector_of_a_linear_decoder_in_one_step():
    generator = torch.Generator().manual_seed(3)
    basis = torch.randn(4, 64, generator=generator)
    true = torch.randn(5, 4, generator=generator)
    weight = torch.rand(5, 1, 8, 8, generator=generator) + 0.5

    def decode(z):
        return (z @ basis).unflatten(1, (1, 8, 8)) + 2.0

    found = gauss_newton(decode, torch.zeros(5, 4), decode(true), weight, 3)
    torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-4)


def test_gauss_newton_is_the_least_squares_of_noisy_images():
    generator = torch.Generator().manual_seed(4)
    basis = torch.randn(3, 64, generator=generator)
    images = torch.randn(2, 1, 8, 8, generator=generator)
    weight = torch.rand(2, 1, 8, 8, generator=generator) + 0.5
    found = gauss_newton(lambda z: (z @ basis).unflatten(1, (1, 8, 8)), torch.zeros(2, 3), images, weight, 3)
    for row in range(2):
        root = weight[row].sqrt().flatten()
        oracle = torch.linalg.lstsq((basis * root).T, (images[row].flatten() * root)[:, None]).solution[:, 0]
        torch.testing.assert_close(found[row], oracle, rtol=1e-4, atol=1e-4)


def test_the_noise_is_learned_as_it_goes_with_brightness():
    generator = torch.Generator().manual_seed(5)
    found = torch.rand(200, 1, 16, 16, generator=generator) * 4
    images = found + (0.1 + 0.2 * found) * torch.randn(found.shape, generator=generator)
    residual = Residual(1, "chi2", "learned", 0.0, 0)
    batch = LensBatch(images=images)
    residual.prepare([batch])
    residual.fit(lambda _: found, [batch])
    torch.testing.assert_close(residual.sigma(found, batch), 0.1 + 0.2 * found, rtol=0.1, atol=0.03)


def test_smoothed_noise_has_unit_scatter_and_a_coherent_residual_stands_out():
    generator = torch.Generator().manual_seed(6)
    light = torch.zeros(50, 1, 32, 32)
    light[..., 8:24, 8:24] = 1000.0
    batch = LensBatch(images=light + torch.randn(light.shape, generator=generator), noise_std=torch.ones_like(light))
    residual = Residual(1, "chi2", "known", 2.0, 0)
    inside = residual.score(light, batch).sigmas[:, 14:18, 14:18]
    assert 0.8 < inside.std() < 1.2
    left = LensBatch(images=batch.images + 1.0, noise_std=batch.noise_std)
    assert residual.score(light, left).sigmas[:, 14:18, 14:18].mean() > 4


def test_noise_that_is_to_be_known_is_asked_for():
    statistic = Reconstructed(VisionTransformer(16, 1, dim=16, depth=1, heads=2, patch=4), noise="known").eval()
    with pytest.raises(InputError, match=r"do not state their noise.*learned"):
        statistic.score(LensBatch(images=torch.randn(2, 1, 16, 16)))


def blobs(count: int, seed: int) -> LensBatch:
    """Round sources of any brightness and place, with noise: a family of three numbers."""
    generator = torch.Generator().manual_seed(seed)
    y, x, bright = torch.rand(3, count, 1, 1, generator=generator)
    grid = torch.arange(24.0)
    away = (grid[:, None] - 9 - 6 * y).square() + (grid - 9 - 6 * x).square()
    clean = (5 + 10 * bright) * torch.exp(-away / 18)
    return LensBatch((clean + 0.1 * torch.randn(count, 24, 24, generator=generator))[:, None])


def test_bad_pixels_do_not_decide_what_an_image_is_like():
    torch.manual_seed(1)
    statistic = Manifold(VisionTransformer(24, 1, dim=16, depth=1, heads=2, patch=4), features=64)
    normal, batch = blobs(600, seed=1), blobs(40, seed=2)
    statistic.prepare([normal])
    statistic.fit([normal])
    usual = statistic.score(batch).score
    mask = torch.zeros_like(batch.images, dtype=torch.bool)
    for row, peak in enumerate(batch.images.flatten(1).argmax(1).tolist()):
        mask[row, 0, peak // 24 - 1 : peak // 24 + 2, peak % 24 - 1 : peak % 24 + 2] = True
    spoilt = replace(batch, images=batch.images.masked_fill(mask, 0.0), mask=mask)
    assert (statistic.score(spoilt).score - usual).abs().median() < 1.0
    unsaid = replace(batch, images=spoilt.images)
    assert (statistic.score(unsaid).score - usual).min() > 10.0
