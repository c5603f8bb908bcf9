"""Where the lens is, from the image alone: with or without light of its own, amid noise, neighbours and bad pixels.

Light of a lens and its arcs is nearly symmetric about a point, the middle of the pairs of opposite pixels that are lit.
Near to it stands the lens galaxy, if it is bright enough to be seen: its peak is the answer. Where there is only a
ring, that point is not the lens: a source at beta behind an isothermal lens has images at beta + theta_E and
beta - theta_E along beta, so its ring is centred on beta. The outer image is the brighter one (magnifications are as
distances from the lens), which puts the centroid of a compact source's light at 2 beta: as far again beyond the point.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms

__all__ = ["find_centre"]

BLUR = 1.0
"""Standard deviation in pixels of the Gaussian that smooths the image."""

LIT, FAINTEST = 4.0, 0.02
"""A pixel is lit above this many times the noise of the smoothed image, and above this share of its peak."""

FRAME = 0.3
"""Symmetry about a point this share of the image's shorter side away from the middle counts by exp(-1/2)."""

OPPOSITE = 2
"""Pixels by which opposite lit pixels may miss one another and still be a pair."""

FEWEST = 20
"""Fewer lit pixels in pairs are no lens."""

GALAXY, LEAST = 5.0, 0.005
"""A galaxy's peak stands above all that surrounds it, by as many times the noise and by as much of the image's peak."""

ASIDE, AROUND = 0.5, 3
"""A galaxy's peak lies no farther from the middle of the pairs, in their rms radius; what surrounds it, in pixels."""

LEAN = 1.15
"""The lens of a bare ring is beyond the middle of the pairs, seen from the centroid of their light, by this many times
the distance between the two: 1 for a point source behind an isothermal sphere. 1.15 is least squares for
deeplense/model-1 to -3 with the light squared, which picks out the source's core; without, it is 2, and depends more on
the size of the source."""

KEEP = 0.2
"""The middle of the image stands if a bare ring disagrees by no more than this share of its radius, which is as well as
it can tell: images that were made with the lens in the middle are not moved. Of 900 of each, 0.1 % of deeplense/model-1
were, 2.9 % of -2 and 1 % of -3, by 0.3 arcsec at most."""


def find_centre(batch: LensBatch) -> Tensor:
    """Where the lens of each image is, (B, 2): y and x in pixels, 0 in the middle of the first. On the device.

    A lens galaxy is found to a fraction of a pixel; the middle of a bare ring to 0.1 of its radius, typically, and to
    0.2 in 95 of 100. A ring whose middle is that of the image within 0.2 radii, and an image in which nothing is seen,
    give the middle of the image exactly. The scale of the pixels does not matter; light of all channels is added.
    A star that outshines a bare ring can mislead it, as can a galaxy that is blended with the arcs.

    Args:
        batch: images in physical units, each with one lens, not necessarily near the middle.
    """
    light, noise = _light(batch)
    brightest = light.flatten(1).amax(1)
    floor = _planes(torch.maximum(LIT * noise, FAINTEST * brightest))
    lit = torch.where(light > floor, light / (light + floor), 0)  # saturated: a pair counts by its area, not its flux
    pivot = _pivot(lit)
    point = pivot / 2
    paired = lit * (max_pool2d(_turned(lit, pivot)[:, None], 2 * OPPOSITE + 1, 1, OPPOSITE)[:, 0] > 0)
    distance = _squared_distance(paired, point).sqrt()
    radius = _mean(paired, distance.square()).sqrt()
    aside = distance > _planes(ASIDE * radius)
    ring = point - LEAN * _centroid(light.square() * ((paired > 0) & aside), point)
    middle = light.new_tensor([(side - 1) / 2 for side in light.shape[1:]])
    nothing = (paired > 0).sum((1, 2)) < FEWEST
    unmoved = ((ring - middle).norm(dim=1) <= KEEP * radius) | nothing
    ring = torch.where(unmoved[:, None], middle, ring)
    threshold = torch.maximum(GALAXY * noise, LEAST * brightest)
    galaxy, seen = _galaxy(light, ~aside, threshold)
    return torch.where((seen & ~nothing)[:, None], galaxy, ring)


def _light(batch: LensBatch) -> tuple[Tensor, Tensor]:
    """The smoothed image (B, H, W) above the sky, over bad pixels from their neighbours; and its noise, (B,)."""
    images = batch.images.float().sum(1)
    bad = torch.zeros_like(images, dtype=torch.bool) if batch.mask is None else batch.mask.any(1)
    sky = images.masked_fill(bad, torch.nan).flatten(1).nanmedian(1).values.nan_to_num()
    weight = _blurred((~bad).float())
    light = _blurred((images - _planes(sky)).masked_fill(bad, 0)) / weight.clamp(min=1e-6)
    light = light.masked_fill(weight < 0.05, 0)
    apart = max(1, min(4, min(images.shape[1:]) // 16))  # so far apart, smoothed pixels share no noise
    noise = sky_rms(light[:, None, ::apart, ::apart], bad[:, None, ::apart, ::apart])[:, 0]
    return light, noise.nan_to_num()


def _blurred(planes: Tensor) -> Tensor:
    """(B, H, W), convolved with a Gaussian, nothing beyond the edges."""
    reach = int(4 * BLUR)
    kernel = torch.exp(-((torch.arange(-reach, reach + 1) / BLUR) ** 2) / 2).to(planes)
    kernel = kernel / kernel.sum()
    rows = conv2d(planes[:, None], kernel[None, None, :, None], padding=(reach, 0))
    return conv2d(rows, kernel[None, None, None], padding=(0, reach))[:, 0]


def _pivot(lit: Tensor) -> Tensor:
    """The sum of the two positions (B, 2) of opposite pixels, about the point with the most light in such pairs.

    The convolution of an image with itself is, at p, the sum over pairs of pixels whose positions add up to p.
    """
    height, width = lit.shape[1:]
    spectrum = torch.fft.rfft2(lit, s=(2 * height, 2 * width))
    pairs = torch.fft.irfft2(spectrum.square(), s=(2 * height, 2 * width))[:, : 2 * height - 1, : 2 * width - 1]
    sigma = FRAME * min(height, width)
    rows, columns = (
        torch.exp(-((torch.arange(2 * n - 1) / 2 - (n - 1) / 2) ** 2) / (2 * sigma**2)).to(lit) for n in (height, width)
    )
    nothing = 1e-3  # of one pair: where none is there, the middle of the image
    best = ((pairs + nothing) * rows[:, None] * columns).flatten(1).argmax(1)
    return torch.stack([best // (2 * width - 1), best % (2 * width - 1)], 1)


def _turned(planes: Tensor, pivot: Tensor) -> Tensor:
    """Planes (B, H, W) turned by half a circle about half the ``pivot``, zero where nothing comes to lie."""
    for axis, shape in ((1, (-1, planes.shape[1], 1)), (2, (-1, 1, planes.shape[2]))):
        side = planes.shape[axis]
        origin = pivot[:, axis - 1, None] - torch.arange(side, device=planes.device)
        inside = ((origin >= 0) & (origin < side)).reshape(shape)
        planes = planes.gather(axis, origin.clamp(0, side - 1).reshape(shape).expand_as(planes)) * inside
    return planes


def _galaxy(light: Tensor, near: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """The highest peak (B, 2) that is ``near`` and surpasses its surroundings by ``threshold``; and if any does."""
    summit = light >= max_pool2d(light[:, None], 2 * AROUND - 1, 1, AROUND - 1)[:, 0]
    stands = summit & near & (light - _square_around(light) > _planes(threshold))
    height, at = light.masked_fill(~stands, -torch.inf).flatten(1).max(1)
    row, column = at // light.shape[2], at % light.shape[2]
    padded = pad(light[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    which = torch.arange(len(light), device=light.device)
    up, down = padded[which, row, column + 1], padded[which, row + 2, column + 1]
    left, right = padded[which, row + 1, column], padded[which, row + 1, column + 2]
    top = padded[which, row + 1, column + 1]
    return torch.stack([row + _vertex(up, top, down), column + _vertex(left, top, right)], 1), height > -torch.inf


def _square_around(light: Tensor) -> Tensor:
    """The brightest pixel on the square of half-width ``AROUND`` about each pixel."""
    k, planes = AROUND, light[:, None]
    across = pad(max_pool2d(planes, (1, 2 * k + 1), 1, (0, k)), (0, 0, k, k), value=-torch.inf)
    along = pad(max_pool2d(planes, (2 * k + 1, 1), 1, (k, 0)), (k, k, 0, 0), value=-torch.inf)
    upper, lower = across[:, 0, : -2 * k], across[:, 0, 2 * k :]
    left, right = along[:, 0, :, : -2 * k], along[:, 0, :, 2 * k :]
    return torch.maximum(torch.maximum(upper, lower), torch.maximum(left, right))


def _vertex(before: Tensor, top: Tensor, after: Tensor) -> Tensor:
    """Where the parabola through three pixels peaks, in pixels from the second."""
    bend = 2 * top - before - after
    return torch.where(bend > 0, (after - before) / 2 / bend.clamp(min=1e-30), 0)


def _squared_distance(planes: Tensor, point: Tensor) -> Tensor:
    """From ``point`` (B, 2), in pixels, at every pixel of planes (B, H, W)."""
    y, x = _offsets(planes, point)
    return y.square()[:, :, None] + x.square()[:, None]


def _centroid(weights: Tensor, point: Tensor) -> Tensor:
    """Of weights (B, H, W), as seen from ``point``, (B, 2); zero where there are none."""
    y, x = _offsets(weights, point)
    return torch.stack([_mean(weights, y[:, :, None]), _mean(weights, x[:, None])], 1)


def _mean(weights: Tensor, values: Tensor) -> Tensor:
    return (weights * values).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-30)


def _offsets(planes: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(n, device=planes.device) for n in planes.shape[1:])
    return rows - point[:, :1], columns - point[:, 1:]


def _planes(values: Tensor) -> Tensor:
    return values[:, None, None]
