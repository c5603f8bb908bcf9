"""Lens images one call away: labelled batches for any training loop, and pairs at a higher resolution."""

from arcformer.data.simulated import SimulatedBatches
from arcformer.sim.render import simulate

if __name__ == "__main__":
    train = SimulatedBatches("corrected/model-2", batch_size=12, seed=0, split="train")
    for k in range(2):
        batch = train.batch(k)  # a pure function of k: no disk, no shared state
        print(f"batch {k}: images {tuple(batch.images.shape)} in {batch.unit}, labels {batch.labels.tolist()}")

    pair = simulate("survey/euclid-vis", 4, seed=1, finer=2)
    low, high = (tuple(images.shape) for images in (pair.images, pair.high_res))
    print(f"pairs: {low} and {high}, joined by `psf`, {tuple(pair.psf.shape)}")
