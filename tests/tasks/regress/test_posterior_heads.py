"""Densities of the heads against torch.distributions and zuko, and their samples against their densities."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal
from zuko.distributions import NormalizingFlow

from arcformer.tasks.regress import HEADS
from arcformer.tasks.regress.heads import FlowHead, GaussianHead, PointHead
from arcformer.tasks.regress.posterior import even_normal
from arcformer.tasks.regress.spread import fit_spread, mixed


def made(name, targets=3, images=4, seed=0):
    """A head all of whose parameters matter, and features of images."""
    torch.manual_seed(seed)
    head = HEADS[name](targets).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        head.spread.copy_(0.5 + torch.rand(targets))
    return head, 0.7 * torch.randn(images, head.inputs).double()


@pytest.mark.parametrize("targets", [1, 2, 5])
def test_the_gaussian_is_that_of_torch(targets):
    head, features = made("gaussian", targets)
    values = torch.randn(4, targets).double()
    place, shape = head.gaussian(features)
    expected = MultivariateNormal(place, scale_tril=head.spread[:, None] * shape)
    torch.testing.assert_close(head.log_prob(features, values), expected.log_prob(values))
    plain = MultivariateNormal(place, scale_tril=shape)
    torch.testing.assert_close(head.loss(features, values), -plain.log_prob(values).mean())


def test_features_of_zero_are_the_prior():
    head = GaussianHead(2)
    place, shape = head.gaussian(torch.zeros(1, head.inputs))
    assert place.tolist() == [[0, 0]]
    torch.testing.assert_close(shape[0], torch.eye(2), atol=2e-4, rtol=0)


@pytest.mark.parametrize("targets", [1, 2, 3])
def test_the_flow_is_that_of_zuko_with_its_variables_changed(targets):
    head, features = made("flow", targets)
    values = torch.randn(4, targets).double()
    place, shape = head.gaussian(features)
    shape = head.spread[:, None] * shape
    u = torch.linalg.solve(shape, (values - place)[..., None])[..., 0]
    base = Independent(Normal(torch.zeros(targets).double(), torch.ones(targets).double()), 1)
    flow = NormalizingFlow(head.flow(features[:, head.told :]), base.expand((4,)))
    torch.testing.assert_close(head.log_prob(features, values), flow.log_prob(u) - torch.linalg.slogdet(shape)[1])


def test_the_flow_begins_as_the_gaussian():
    torch.manual_seed(0)
    flow, gaussian = FlowHead(3), GaussianHead(3)
    features, values = torch.randn(5, flow.inputs), torch.randn(5, 3)
    expected = gaussian.log_prob(features[:, : gaussian.inputs], values)
    torch.testing.assert_close(flow.log_prob(features, values), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flow.loss(features, values), -expected.mean(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("targets", [1, 2, 3])
def test_samples_follow_the_density(name, targets):
    """E[f / p] over samples of p is the integral of f: of a Gaussian f of known mean and covariance it is known."""
    head, features = made(name, targets, images=2)
    noise = even_normal(1 << 15, targets, torch.device("cpu")).double()
    with torch.no_grad():
        samples = head.sample(features, noise)
        assert samples.shape == (2, 1 << 15, targets)
        for image, drawn in zip(features, samples, strict=True):
            density = head.log_prob(image.expand(len(drawn), -1), drawn)
            mean, covariance = drawn.mean(0), drawn.T.cov().view(targets, targets)
            narrow = MultivariateNormal(mean, 0.3 * covariance)
            weight = (narrow.log_prob(drawn) - density).exp()
            assert weight.mean().item() == pytest.approx(1, abs=0.02)
            found = (weight[:, None] * drawn).mean(0)
            torch.testing.assert_close(found, mean, atol=0.02 * covariance.diagonal().max().sqrt().item(), rtol=0)
            off = drawn - mean
            torch.testing.assert_close(
                (weight[:, None] * off).T @ off / len(off), 0.3 * covariance, atol=0.03, rtol=0.1
            )


def test_samples_of_one_image_do_not_depend_on_the_others():
    head, features = made("flow", 2, images=40)
    noise = torch.randn(1000, 2).double()
    torch.testing.assert_close(head.sample(features, noise)[7:8], head.sample(features[7:8], noise))


def test_even_numbers_are_normal_the_same_at_every_call_and_leave_the_global_stream_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    noise = even_normal(256, 3, torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(noise, even_normal(256, 3, torch.device("cpu")))
    assert noise.isfinite().all()
    torch.testing.assert_close(noise.mean(0), torch.zeros(3), atol=0.02, rtol=0)
    torch.testing.assert_close(noise.T.cov(), torch.eye(3), atol=0.05, rtol=0)
    for run in noise.split(32):  # as the eight views share them out
        torch.testing.assert_close(run.mean(0), torch.zeros(3), atol=0.1, rtol=0)


def test_a_point_estimate_gets_the_scatter_of_its_residuals():
    torch.manual_seed(0)
    head, features = PointHead(2), torch.randn(4000, 2)
    scatter = torch.tensor([[0.3, 0.0], [-0.1, 0.05]])
    head.calibrate(features, features + torch.randn(4000, 2) @ scatter.T)
    torch.testing.assert_close(head.shape @ head.shape.T, scatter @ scatter.T, rtol=0.1, atol=0.002)


@pytest.mark.parametrize("name", HEADS)
def test_the_spread_that_makes_the_truth_most_likely_is_found(name):
    head, features = made(name, 2, images=60)
    expected = torch.tensor([0.5, 2.0]).double()
    head.spread.copy_(expected)
    with torch.no_grad():
        values = head.sample(features, even_normal(64, 2, torch.device("cpu")).double()).flatten(0, 1)
    features = features.repeat_interleave(64, 0)
    loss = head.loss(features, values)
    head.spread.fill_(1.0)
    fit_spread(head, features[:, None], values[:, None])
    torch.testing.assert_close(head.spread, expected, rtol=0.06, atol=0)
    assert torch.equal(head.loss(features, values), loss)  # which knows of none


def test_views_are_mixed_equally():
    head, features = made("gaussian", 2, images=6)
    values = torch.randn(3, 2, 2).double()
    apart = head.log_prob(features, values.flatten(0, 1)).view(3, 2).exp()
    torch.testing.assert_close(mixed(head, features.view(3, 2, -1), values).exp(), apart.mean(1))
    same = features[:, None].expand(-1, 8, -1)
    torch.testing.assert_close(
        mixed(head, same, values.flatten(0, 1)[:, None].expand(-1, 8, -1)),
        head.log_prob(features, values.flatten(0, 1)),
    )
    assert math.isfinite(float(mixed(head, features.view(3, 2, -1), values + 50).mean()))
