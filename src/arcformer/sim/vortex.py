"""A vortex as a line of mass, in closed form. Angles arcsec, position angles radians.

That a vortex of axion-like dark matter deflects as a massive line is the convention of the DeepLense benchmark. The
vortices of an ultra-light field are lines along which its density *vanishes* (Hui et al. 2021, JCAP 01, 011).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["line_deflection"]


def line_deflection(
    x0: Tensor, y0: Tensor, cosine: Tensor, sine: Tensor, half_length: Tensor, theta_E: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Deflection of a uniform line, the integral of point masses along it.

    With u along and v across the line of half-length L, from its middle, and theta_E the Einstein radius of all its
    mass:

        alpha_u = theta_E^2 / (4 L) ln[((u + L)^2 + v^2) / ((u - L)^2 + v^2)]
        alpha_v = theta_E^2 / (2 L) [arctan((u + L) / v) - arctan((u - L) / v)].

    Args:
        x0, y0: the middle of the line, each (B, 1).
        cosine, sine: of its position angle, each (B, 1).
        half_length, theta_E: each (B, 1), the former positive.
        x, y: where, (P,) or (B, P).

    Returns:
        Its two components, (B, P).
    """
    u = (x - x0) * cosine + (y - y0) * sine
    v = (y - y0) * cosine - (x - x0) * sine
    ahead, behind = u + half_length, u - half_length
    strength = theta_E**2 / half_length
    tiny = torch.finfo(u.dtype).tiny
    along = strength / 4 * ((ahead**2 + v**2 + tiny) / (behind**2 + v**2 + tiny)).log()
    # the angle under which the line is seen from (u, v), in one arctangent; on the line itself its two sides cancel
    across = strength / 2 * torch.where(v == 0, 0.0, torch.atan2(2 * half_length * v, v**2 + ahead * behind))
    return along * cosine - across * sine, along * sine + across * cosine
