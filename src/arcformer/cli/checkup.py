"""What ``doctor`` looks at. Nothing here may fail because of what it finds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Finding", "checkup"]

DISTRIBUTION = "arcformer"
ROOM = 2.0
"""GiB of free disk below which a run and its resume files may not fit."""

IN_A_PROCESS_OF_ITS_OWN = 60.0
"""Seconds that an import may take there."""


@dataclass(frozen=True)
class Finding:
    """A line of the report: ``ok``, ``note`` (worth knowing) or ``missing`` (arcformer needs it)."""

    state: Literal["ok", "note", "missing"]
    subject: str
    text: str


def checkup() -> Iterator[Finding]:
    """All findings, one after another as they come."""
    for check in (python, needed_packages, torch_and_devices, torchvision, extras, samples, disk):
        try:
            yield from check()
        except Exception as error:  # whatever it is, the other checks are wanted all the more
            yield Finding("missing", check.__name__.replace("_", " "), f"the check itself failed: {error!r}")


def python() -> Iterator[Finding]:
    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    low = re.fullmatch(r">=(\d+)\.(\d+)", wanted)
    fine = low is None or sys.version_info[:2] >= tuple(map(int, low.groups()))
    yield Finding("ok" if fine else "missing", "python", text if fine else f"{text}; arcformer needs {wanted}")


def needed_packages() -> Iterator[Finding]:
    lacking = [requirement for requirement in _requirements() if not _satisfied(requirement)]
    if not lacking:
        yield Finding("ok", "packages", "all that arcformer needs are installed")
    for requirement in lacking:
        there = _version(_name(requirement)) or "not installed"
        yield Finding("missing", _name(requirement), f'{there}; pip install "{requirement}"')


def torch_and_devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("missing", "torch", f"cannot be imported ({_first_line(error)}); install it anew")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    yield Finding("ok", "torch", f"{torch.__version__}, {build}")
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield Finding("ok", f"cuda:{index}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        capability = torch.backends.cpu.get_cpu_capability()
        driver = torch.version.cuda is not None and shutil.which("nvidia-smi") is not None
        text = f"no GPU; {capability}, {torch.get_num_threads()} threads"
        yield Finding("note" if driver else "ok", "cpu", f"{text}; torch does not get on with the GPU's driver"
                      if driver else text)  # fmt: skip
    yield _bf16()
    yield _compiler()


def torchvision() -> Iterator[Finding]:
    """A torchvision that does not match torch breaks what imports it: transformers, torchmetrics, lightning."""
    found = _version("torchvision")
    if found is None:
        yield Finding("ok", "torchvision", "not installed, and not needed")
        return
    command = [sys.executable, "-c", "import torchvision"]  # in a process of its own: it may take this one with it
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IN_A_PROCESS_OF_ITS_OWN)
    except subprocess.TimeoutExpired:
        yield Finding("note", "torchvision", f"{found}, takes over {IN_A_PROCESS_OF_ITS_OWN:.0f} s to import")
        return
    if done.returncode == 0:
        yield Finding("ok", "torchvision", found)
        return
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    yield Finding(
        "note",
        "torchvision",
        f"{found} is broken beside torch {_version('torch')}: {reason}. It is another build than torch's (CUDA beside "
        "CPU, or another version), and breaks timm, transformers, torchmetrics and lightning, which look for it. "
        "arcformer does not need it: pip uninstall torchvision, or install the build that belongs to this torch",
    )


def extras() -> Iterator[Finding]:
    for extra in importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ():
        lacking = [_name(requirement) for requirement in _requirements(extra) if not _satisfied(requirement)]
        if lacking:
            text = f'without {", ".join(lacking)}: pip install "{DISTRIBUTION}[{extra}]"'
            yield Finding("note", f"extra {extra}", text)
        else:
            yield Finding("ok", f"extra {extra}", "installed")


def samples() -> Iterator[Finding]:
    folder = os.environ.get("ARCFORMER_SAMPLES")
    if not folder:
        text = "ARCFORMER_SAMPLES is not set: demo and tests do without real images"
        yield Finding("note", "sample data", text)
    elif not Path(folder).is_dir():
        yield Finding("note", "sample data", f"ARCFORMER_SAMPLES is {folder}, which is no folder")
    else:
        inside = sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
        yield Finding("ok", "sample data", f"{folder}: {', '.join(inside) or 'empty'}")


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    text = f"{free:.1f} GiB free in {Path.cwd()}"
    yield Finding("ok", "disk", text) if free > ROOM else Finding("note", "disk", f"{text}: little for a run")


def _bf16() -> Finding:
    """Whether mixed precision pays, by a product of matrices; training probes with the network itself."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.randn(1024, 1024, device=device)
    halved = matrix.bfloat16()
    gain = _seconds(lambda: matrix @ matrix) / _seconds(lambda: halved @ halved)
    verdict = "pays" if gain > 1.1 else "does not pay"
    return Finding("ok", "bf16", f"{verdict} here: products of matrices {gain:.1f} times as fast as in float32")


def _seconds(multiply: Callable[[], Any]) -> float:
    """The best of a few, after one to warm up."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        multiply().sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _compiler() -> Finding:
    from arcformer.sim.render import can_compile

    if can_compile():
        return Finding("ok", "torch.compile", "a C++ compiler is here: simulation is compiled, for some seconds once")
    if os.environ.get("ARCFORMER_EAGER"):
        return Finding("note", "torch.compile", "switched off by ARCFORMER_EAGER: simulation is 12 to 40 times slower")
    text = "no C++ compiler: simulation is 12 to 40 times slower; install g++, or name another one in CXX"
    return Finding("note", "torch.compile", text)


def _requirements(extra: str | None = None) -> list[str]:
    """What arcformer asks for, as ``torch>=2.6``: always, or for an extra."""
    asked = []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        named = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
        if (named[1] if named else None) == extra:
            asked.append(requirement)
    return asked


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _satisfied(requirement: str) -> bool:
    there = _version(_name(requirement))
    if there is None:
        return False
    try:
        from packaging.requirements import Requirement
    except ImportError:  # then only whether it is there at all can be told
        return True
    return Requirement(requirement).specifier.contains(there, prereleases=True)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
