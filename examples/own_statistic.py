"""A statistic of one's own, checked against the contract. Use it: `task=detect task.statistic=own_statistic:Light`."""

import torch

from arcformer.tasks.anomaly import Scores, Statistic
from arcformer.tasks.anomaly.check import check_statistic


class Light(Statistic):
    """How far the brightness of an image is from that of normal ones, in standard deviations."""

    def __init__(self, backbone, *, least: float = 1e-3):
        super().__init__(backbone)
        self.least = least
        self.register_buffer("usual", torch.tensor([0.0, 1.0]))  # saved with the weights

    def score(self, batch):
        mean, std = self.usual
        sigmas = (batch.images.mean(1) - mean) / std  # where
        return Scores(sigmas.mean((1, 2)).abs(), sigmas)

    def fit(self, batches):
        light = torch.cat([batch.images.mean((1, 2, 3)) for batch in batches])
        self.usual = torch.stack([light.mean(), light.std().clamp_min(self.least)])


if __name__ == "__main__":
    check_statistic(Light)
    print("Light keeps the contract of a statistic")
