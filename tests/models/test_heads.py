"""Heads: vectors and images from feature maps."""

from __future__ import annotations

import pytest
import torch

from arcformer.models import FeatureMap, PixelHead, PoolHead, VisionTransformer


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


@pytest.mark.parametrize("side", [16, 18, 21])
def test_a_head_of_pixels_puts_each_cell_where_it_was_seen(side):
    """A cell that alone differs changes the pixels of its own patch, as the backbone lays it."""
    backbone, head = VisionTransformer(side, 1, dim=16, depth=1, heads=2, patch=4, stem="patch"), PixelHead(16, 1, 4)
    image = torch.zeros(1, 1, side, side)
    grid = backbone.tokenize(image).grid
    maps = torch.zeros(1, 16, *grid)
    before = head([FeatureMap(maps, 4)], side, side)
    assert before.shape == image.shape
    for row, column in ((0, 0), (1, 2), (grid[0] - 1, grid[1] - 1)):
        maps = torch.zeros(1, 16, *grid)
        maps[..., row, column] = 1.0
        changed = (head([FeatureMap(maps, 4)], side, side) - before).abs() > 0
        seen = (backbone.tokenize(changed.float()).x - backbone.tokenize(image).x).abs().sum(2)[0] > 1e-6
        assert seen.nonzero().flatten().tolist() == [row * grid[1] + column]
