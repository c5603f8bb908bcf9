"""Watching features: spread and rank where they are known, probes against scikit-learn and by brute force."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from arcformer.metrics import (
    EffectiveRank,
    FeatureSpread,
    LinearProbeAccuracy,
    LinearProbeAUROC,
    NeighbourAccuracy,
    NTXent,
    nt_xent,
)
from arcformer.metrics.probes import STRENGTHS, leave_one_out


def value(metric, *arguments):
    """Over two batches."""
    metric.update(*(a[:100] for a in arguments))
    metric.update(*(a[100:] for a in arguments))
    return metric.compute().item()


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_rank_of_features_in_so_many_directions(rank):
    features = torch.zeros(400, 16)
    features[torch.arange(400), torch.arange(400) % rank] = 7.0
    assert value(EffectiveRank(16), features) == pytest.approx(rank, rel=1e-4)


def test_the_rank_is_that_of_the_singular_values():
    features = torch.randn(300, 12) * torch.linspace(0.1, 2, 12)
    singular = torch.linalg.svdvals(F.normalize(features.double(), dim=1))
    share = singular / singular.sum()
    assert value(EffectiveRank(12), features) == pytest.approx((-(share * share.log()).sum()).exp().item(), rel=1e-5)


def test_collapse_is_seen():
    everywhere, nowhere = torch.randn(2000, 64), torch.ones(2000, 64) + 1e-5 * torch.randn(2000, 64)
    assert value(FeatureSpread(64), everywhere) == pytest.approx(1, abs=0.02)
    assert value(FeatureSpread(64), nowhere) < 1e-3
    assert value(EffectiveRank(64), everywhere) > 55
    assert value(EffectiveRank(64), nowhere) < 1.05
    alone = EffectiveRank(64)
    alone.update(everywhere[:1])
    assert alone.compute().isnan()


def clusters(images=240, dim=12, apart=1.0):
    labels = torch.arange(images) % 3
    return torch.randn(images, dim) + apart * torch.eye(dim)[labels] * 2, labels


def test_neighbours_are_those_of_scikit_learn():
    torch.manual_seed(0)
    x, y = clusters()
    unit = F.normalize(x, dim=1).numpy()
    right = 0
    for i in range(len(y)):
        rest = [k for k in range(len(y)) if k != i]

        def weights(distance):
            return torch.from_numpy(-(distance**2) / 2 / 0.07).exp().numpy()

        fitted = KNeighborsClassifier(20, weights=weights).fit(unit[rest], y[rest])
        right += int(fitted.predict(unit[i : i + 1])[0] == y[i])
    assert value(NeighbourAccuracy(3), x, y) == pytest.approx(right / len(y), abs=1e-6)


def test_leaving_one_out_in_closed_form_is_leaving_each_out():
    torch.manual_seed(0)
    x, y = clusters(60, 5)
    found, target = leave_one_out(x, y, 3), F.one_hot(y, 3).double()
    centred, mean = x.double() - x.double().mean(0), target.mean(0)
    unit = centred.square().sum() / 5
    candidates = []
    for strength in STRENGTHS:
        rows = []
        for i in range(60):
            rest = torch.arange(60) != i
            a = centred[rest].T @ centred[rest] + strength * unit * torch.eye(5)
            rows.append(mean + centred[i] @ torch.linalg.solve(a, centred[rest].T @ (target[rest] - mean)))
        candidates.append(torch.stack(rows))
    best = min(candidates, key=lambda c: (c - target).square().sum())
    torch.testing.assert_close(found, best)


def test_a_linear_probe_tells_what_is_there_and_nothing_else():
    torch.manual_seed(0)
    x, y = clusters(600)
    scores = leave_one_out(x, y, 3).numpy()
    expected = sum(roc_auc_score(y == k, scores[:, k]) for k in range(3)) / 3
    assert value(LinearProbeAUROC(3), x, y) == pytest.approx(expected)
    assert value(LinearProbeAccuracy(3), x, y) > 0.6
    assert value(LinearProbeAUROC(3), torch.randn(600, 12), y) == pytest.approx(0.5, abs=0.07)
    assert value(LinearProbeAUROC(3), torch.ones(600, 12), y) == pytest.approx(0.5)


@pytest.mark.parametrize("metric", [NeighbourAccuracy, LinearProbeAccuracy, LinearProbeAUROC])
def test_without_labels_or_with_one_class_there_is_no_number(metric):
    none, one = metric(3), metric(3)
    none.update(torch.randn(8, 4), None)
    one.update(torch.randn(8, 4), torch.ones(8, dtype=torch.int64))
    assert none.compute().isnan()
    assert one.compute().isnan()


def test_probes_keep_no_more_than_they_are_told():
    probe = LinearProbeAccuracy(3, most=50)
    for _ in range(3):
        probe.update(*clusters(30))
    assert sum(map(len, probe.labels)) == sum(map(len, probe.features)) == 50


def test_contrast_is_the_cross_entropy_of_the_paper():
    torch.manual_seed(0)
    first, second = (F.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    z, expected = torch.cat([first, second]), []
    for i in range(5):
        for a, b in ((i, i + 5), (i + 5, i)):
            others = [k for k in range(10) if k != a]
            expected.append(-torch.log((z[a] @ z[b] / 0.3).exp() / sum((z[a] @ z[k] / 0.3).exp() for k in others)))
    assert nt_xent(first, second, 0.3).mean().item() == pytest.approx(sum(expected).item() / 10, rel=1e-5)
    metric = NTXent(0.3)
    metric.update(first[:2], second[:2])
    metric.update(first[2:], second[2:])
    assert metric.compute().item() == pytest.approx(sum(expected).item() / 10, rel=1e-5)
