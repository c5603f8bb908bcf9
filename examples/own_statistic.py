"""A statistic of one's own, checked against the contract. Use it with `task=detect task.statistic=own_statistic:Light`."""

import torch

from arcformer.tasks.anomaly import Scores, Statistic
from arcformer.tasks.anomaly.check import check_statistic


class Light(Statistic):
    """How far the light of every pixel is from its mean over normal images, in standard deviations."""

    def __init__(self, backbone, *, least: float = 1e-3):
        super().__init__(backbone)
        self.least = least
        self.register_buffer("mean", torch.zeros(1, 1))  # as large as an image, when it is fitted
        self.register_buffer("std", torch.ones(1, 1))

    def score(self, batch):
        light = batch.images.mean(1)
        sigmas = (light - self.mean.mean()) / self.std.mean()
        return Scores(sigmas.square().mean((1, 2)), sigmas)

    def fit(self, batches):
        light = torch.cat([batch.images.mean(1) for batch in batches])  # or sums, where there are many images
        self.mean, self.std = light.mean(0), light.std(0).clamp_min(self.least)


if __name__ == "__main__":
    check_statistic(Light)
    print("Light keeps the contract of a statistic")
