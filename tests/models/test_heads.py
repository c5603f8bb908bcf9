"""Pooling heads."""

from __future__ import annotations

import pytest
import torch

from arcformer.models import FeatureMap, PoolHead


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_pools_the_last_map_whatever_its_size(pool):
    head = PoolHead(8, 3, pool=pool)
    for side in (1, 5):
        maps = [FeatureMap(torch.randn(2, 4, 9, 9), 2), FeatureMap(torch.randn(2, 8, side, side), 4)]
        assert head(maps).shape == (2, 3)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_does_not_depend_on_where_a_feature_is(pool):
    head, x = PoolHead(8, 3, pool=pool), torch.randn(2, 8, 4, 4)
    if pool == "attention":
        torch.nn.init.normal_(head.query.weight)
    torch.testing.assert_close(head([FeatureMap(x, 4)]), head([FeatureMap(x.flip(2), 4)]))


def test_attention_looks_where_its_query_points():
    """A query that matches one cell alone gives the output of that cell."""
    head, x = PoolHead(8, 3, pool="attention"), torch.randn(1, 8, 3, 3)
    with torch.no_grad():
        cell = head.norm(x[0, :, 1, 2])
        head.query.weight.copy_(100 * cell[None])
    torch.testing.assert_close(head([FeatureMap(x, 4)]), head([FeatureMap(x[:, :, 1:2, 2:3], 4)]))
