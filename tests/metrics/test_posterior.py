"""What posteriors are judged by, on posteriors that are known exactly, and on those that are wrong in known ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from arcformer.errors import InputError
from arcformer.metrics import IntervalCoverage, coverage, flatness, ranks, sharpness, tarp, within

N, S = 4000, 400


def gaussian(scale=1.0, shift=0.0, images=N, samples=S, seed=0):
    """x ~ N(0, 1) seen with noise of 0.5 in two parameters that noise mixes: samples, truths, data.

    The posterior is known. It is stretched by ``scale`` and moved by ``shift`` of its width.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(images, 2))
    noise = np.array([[0.5, 0.0], [0.3, 0.4]])
    seen = truth + rng.normal(size=(images, 2)) @ noise.T
    precision = np.linalg.inv(noise @ noise.T)
    covariance = np.linalg.inv(np.eye(2) + precision)
    mean = seen @ (covariance @ precision).T
    factor = np.linalg.cholesky(covariance)
    width = np.sqrt(np.diag(covariance))
    drawn = rng.normal(size=(images, samples, 2)) @ factor.T
    return mean[:, None] + shift * width + scale * drawn, truth, seen


def test_an_exact_posterior_covers_what_it_says():
    samples, truth, _ = gaussian()
    found = coverage(samples, truth)
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, np.array([[0.5], [0.68], [0.9], [0.95]]).repeat(2, 1), atol=0.025)
    np.testing.assert_array_equal(found, coverage(torch.tensor(samples), torch.tensor(truth)))


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 0.0), (2.0, 0.0), (1.0, 1.0)])
def test_coverage_of_a_wrong_posterior_is_what_follows_from_how_it_is_wrong(scale, shift):
    samples, truth, _ = gaussian(scale, shift)
    for level, found in zip((0.5, 0.9), coverage(samples, truth, (0.5, 0.9)), strict=True):
        half = scale * stats.norm.ppf((1 + level) / 2)
        expected = stats.norm.cdf(half + shift) - stats.norm.cdf(-half + shift)
        np.testing.assert_allclose(found, expected, atol=0.025)


def test_ranks_count_samples_below_and_are_flat_for_an_exact_posterior():
    assert ranks([[[1.0], [3.0], [2.0]]], [[2.5]]).tolist() == [[2]]
    samples, truth, _ = gaussian()
    found = ranks(samples, truth)
    assert found.shape == (N, 2)
    flat = flatness(found, S)
    assert flat.counts.sum(0).tolist() == [N, N]
    assert flat.expected.sum() == pytest.approx(N)
    assert (flat.p_value > 0.01).all()
    for wrong in ({"scale": 0.8}, {"scale": 1.25}, {"shift": 0.2}):
        samples, truth, _ = gaussian(**wrong)
        assert (flatness(ranks(samples, truth), S).p_value < 1e-6).all()


def test_a_truth_beyond_all_samples_has_a_rank_at_an_end_and_no_interval_holds_it():
    samples = np.linspace(-1, 1, 9)[None, :, None]
    found = np.array([ranks(samples, [[value]])[0] for value in (-5, 0.0, 0.01, 5)])
    assert found.ravel().tolist() == [0, 4.5, 5, 9]  # a tie counts half
    assert within(found, 9, (0.5, 0.8)).squeeze().tolist() == [[False, True, True, False]] * 2
    assert flatness(found, 9, bins=2).counts.ravel().tolist() == [2, 2]


@pytest.mark.parametrize(("images", "bins"), [(3, 2), (40, 8), (90, 18), (5000, 20)])
def test_few_images_come_in_few_bins_and_of_hardly_any_nothing_is_said(images, bins):
    flat = flatness(np.arange(images)[:, None] % (S + 1), S)
    assert flat.counts.shape == (bins, 1)
    assert flat.counts.sum() == images
    assert np.isnan(flat.p_value).all() == (images < 10)


def test_the_test_of_flatness_is_right_at_its_level():
    """Of flat ranks it refuses a twentieth, bins that hold different numbers of ranks included."""
    rng = np.random.default_rng(0)
    p = flatness(rng.integers(0, 101, size=(2000, 500)), 100, bins=7).p_value
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.03)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_tarp_tells_an_exact_posterior_from_wrong_ones():
    samples, truth, seen = gaussian()
    exact = tarp(samples, truth)
    np.testing.assert_allclose(exact.coverage, exact.levels, atol=0.04)
    assert exact.p_value > 0.01
    narrow, wide, moved = (tarp(*gaussian(**wrong)[:2]) for wrong in ({"scale": 0.5}, {"scale": 2.0}, {"shift": 1.0}))
    for wrong in (narrow, wide, moved):
        assert wrong.p_value < 1e-6
    assert narrow.coverage[-5] < narrow.levels[-5] - 0.05  # too sure: truths lie beyond
    assert np.abs(wide.coverage - wide.levels).max() > 0.1
    prior = np.random.default_rng(1).normal(size=samples.shape)
    assert tarp(prior, truth).p_value > 0.01  # knows nothing, and claims nothing
    assert tarp(prior, truth, references=seen).p_value < 1e-6  # reference points that depend on the data find it out


def test_tarp_is_that_of_its_paper_done_slowly():
    samples, truth, seen = gaussian(1.3, 0.3, images=60, samples=30)
    found = tarp(samples, truth, references=seen, levels=11)
    unit = truth.max(0) - truth.min(0)
    shares = []
    for drawn, own, reference in zip(samples, truth, seen, strict=True):
        radius = np.linalg.norm((own - reference) / unit)
        nearer = sum(np.linalg.norm((one - reference) / unit) < radius for one in drawn)
        shares.append((nearer + 0.5) / (len(drawn) + 1))
    np.testing.assert_allclose(found.nearer, shares)
    np.testing.assert_allclose(found.coverage, [np.mean(np.array(shares) <= level) for level in found.levels])


def test_the_unit_of_a_parameter_is_no_matter():
    samples, truth, seen = gaussian(images=300)
    unit = np.array([1e12, 1e-24])
    assert tarp(samples, truth, references=seen).coverage.tolist() == (
        tarp(samples * unit, truth * unit, references=seen * unit).coverage.tolist()
    )
    np.testing.assert_allclose(sharpness(samples * unit), unit * sharpness(samples))


def test_sharpness_is_the_width_of_the_interval():
    samples, _, _ = gaussian()
    width = samples.std(1).mean(0)
    np.testing.assert_allclose(sharpness(samples), 2 * stats.norm.ppf(0.84) * width, rtol=0.01)


def test_the_metric_of_coverage_is_that_of_the_whole_set():
    low, high, truth = (
        torch.tensor([[0.0, 0.0]] * 4),
        torch.ones(4, 2),
        torch.tensor([[0.5, 2], [1, -1], [3, 0], [0, 9]]),
    )
    metric = IntervalCoverage()
    for rows in (slice(0, 1), slice(1, 4)):
        metric.update(low[rows], high[rows], truth[rows])
    assert metric.compute().tolist() == [0.75, 0.25]
    single = IntervalCoverage()
    single.update(low[:, :1], high[:, :1], truth[:, :1])
    assert single.compute().shape == ()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, t: coverage(s, t[:-1]), r"samples \(4, 5, 2\) and truths \(3, 2\) do not fit"),
        (lambda s, t: ranks(s[0], t), "do not fit"),
        (lambda s, t: tarp(s * np.nan, t), "must be finite"),
        (lambda s, t: tarp(s, t, references=t[:2]), r"references \(2, 2\) do not fit"),
        (lambda s, t: coverage(s, t, (0.5, 95)), "levels are probabilities between 0 and 1, got"),
        (lambda s, t: flatness(ranks(s, t), 5, bins=20), "20 bins for ranks among 5 samples"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(np.zeros((4, 5, 2)), np.zeros((4, 2)))
