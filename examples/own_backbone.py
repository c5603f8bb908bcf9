"""A backbone of one's own, checked against the contract. Train it with `backbone.name=own_backbone:Ladder`."""

from torch import nn

from arcformer.models import Backbone, FeatureMap
from arcformer.models.check import check_backbone


class Ladder(Backbone):
    """Two strided convolutions: feature maps at strides 2 and 4, finest first."""

    def __init__(self, image_size: int, channels: int, *, dim: int = 64):
        super().__init__()
        self.dim = dim
        self.down1 = nn.Sequential(nn.Conv2d(channels, dim // 2, 3, 2, padding=1), nn.GroupNorm(1, dim // 2), nn.GELU())
        self.down2 = nn.Sequential(nn.Conv2d(dim // 2, dim, 3, 2, padding=1), nn.GroupNorm(1, dim), nn.GELU())

    def features(self, images, context=None):
        fine = self.down1(images)
        return [FeatureMap(fine, 2), FeatureMap(self.down2(fine), 4)]


if __name__ == "__main__":
    check_backbone(Ladder, dim=32)
    print("Ladder keeps the contract of a backbone")
