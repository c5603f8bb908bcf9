"""Where numbers come from: versions, device, commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import arcformer

__all__ = ["commit", "device_name", "versions"]

PACKAGES = ("arcformer", "torch", "lightning", "caustics")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers of a run."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def device_name(device: torch.device) -> str:
    """The device in words, as ``NVIDIA H100`` or ``cpu x86_64 AVX512, 2 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def commit() -> str | None:
    """The git commit of this library's source, with ``-dirty`` where it was changed; None outside a checkout."""
    source = Path(arcformer.__file__)
    try:
        _git(source, "ls-files", "--error-unmatch", source.name)  # installed below somebody's checkout is not in it
        return _git(source, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(source: Path, *arguments: str) -> str:
    command = ["git", "-C", str(source.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
