"""How fast our transformers train, and in how much memory, against transformers' of the same configuration and weights.

    python benchmarks/models.py --json models.json [--models 'vit*'] [--device cuda]

``vit-3x3-768`` is the configuration of a published lens classifier, the other vision transformers are of common sizes,
``swin`` is our ``tiny``. Our backbone is loaded with the peer's weights first, which shows that the two are the same
but for the head: ours pools the patches, a ViT of transformers its class token. A step is forward, backward and AdamW.

``train_images_per_s NAME float32`` is of float32, without a compiler, attention fused where there is a fused one.
``NAME best`` is of the best setting of each, sought one choice after another: attention fused or not (of the peer; ours
always is), bfloat16 by autocast or not, compiled or not. Steps of the two alternate and medians are compared, so that a
busy machine slows both. ``train_memory`` (on Linux or a GPU) is what model, optimiser and float32 steps add at their
peak, each in a process of its own.

Nine tenths of either is the same matrix products: expect ratios near one where those are large.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

import peers
import torch
import transformers
from peers import swin_config, vit_config
from rows import Row, emit
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.memory import forget_peak, peak, resident
from arcformer.models import Backbone, load_transformers_weights
from arcformer.tasks import Classify
from arcformer.training.precision import autocast
from arcformer.training.provenance import device_name

CLASSES = ("no_sub", "cdm", "axion")
PEER = f"transformers {transformers.__version__}"
TRIAL = 7
"""Steps by which settings are compared, after two to warm up."""

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """How a model is run; ``attention`` is the name that transformers has for it."""

    attention: str = "sdpa"
    precision: str = "32"
    compiled: bool = False

    def __str__(self) -> str:
        words = ("bf16" if self.precision == "bf16" else "float32", *["compiled"] * self.compiled)
        return " ".join((*words, *["unfused"] * (self.attention == "eager")))


Entry = tuple[str, Setting]
"""One of ``ours`` and ``theirs``, and its setting."""


@dataclass(frozen=True)
class Case:
    """A configuration: our backbone and the peer, one for images of ``side`` pixels and one channel."""

    side: int
    ours: Callable[[], Backbone]
    theirs: Callable[[str], nn.Module]
    attentions: tuple[str, ...] = ("sdpa", "eager")


def vit(side: int, patch: int, dim: int, depth: int, heads: int, mlp: int) -> Case:
    """A vision transformer as transformers has it: a class token, learned positions, one linear map a patch."""
    options = {"dim": dim, "depth": depth, "heads": heads, "mlp": mlp, "patch": patch, "eps": 1e-12, "uneven": "crop"}

    def theirs(attention: str) -> nn.Module:
        config = vit_config(side, 1, options, num_labels=len(CLASSES), attn_implementation=attention)
        return transformers.ViTForImageClassification(config)

    return Case(side, peers.Case("vit", side, options=options).ours, theirs)


def swin(side: int, dim: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int) -> Case:
    """A Swin Transformer V2; transformers has no fused attention for it."""
    options = {"dim": dim, "depths": depths, "heads": heads, "window": window, "patch": 4, "mlp_ratio": 4.0}

    def theirs(attention: str) -> nn.Module:
        more = {"num_labels": len(CLASSES), "attn_implementation": attention, "drop_path_rate": 0.0}
        return transformers.Swinv2ForImageClassification(swin_config(side, 1, options, **more))

    return Case(side, peers.Case("swin", side, options=options).ours, theirs, ("eager",))


CASES = {
    "vit-6x3-192 64x64": vit(64, patch=8, dim=192, depth=6, heads=3, mlp=768),
    "vit-small 64x64": vit(64, patch=8, dim=384, depth=12, heads=6, mlp=1536),
    "vit-3x3-768 150x150": vit(150, patch=16, dim=768, depth=3, heads=3, mlp=1024),
    "swin-2x2-96 64x64": swin(64, dim=96, depths=(2, 2), heads=(3, 6), window=4),
}


def model_and_loss(case: Case, who: str, setting: Setting, device: str) -> tuple[nn.Module, Loss]:
    """One of ``ours`` and ``theirs``, and its loss from images and labels."""
    torch.manual_seed(0)
    peer = case.theirs(setting.attention if setting.attention in case.attentions else case.attentions[0])
    if who == "theirs":
        peer.to(device)
        return peer, lambda images, labels: F.cross_entropy(peer(pixel_values=images).logits, labels)
    backbone = case.ours()
    load_transformers_weights(backbone, peer.state_dict())
    task = Classify(backbone, CLASSES).to(device)
    return task, lambda images, labels: task.loss(LensBatch(images, labels=labels, classes=CLASSES))["loss"]


def step_of(case: Case, who: str, setting: Setting, device: str) -> Callable[[Tensor, Tensor], None]:
    """One training step: forward, backward, AdamW."""
    model, loss = model_and_loss(case, who, setting, device)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)
    loss = torch.compile(loss) if setting.compiled else loss

    def step(images: Tensor, labels: Tensor) -> None:
        with autocast(setting.precision, images.device):
            value = loss(images, labels)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def drawn(side: int, batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Images and labels."""
    torch.manual_seed(0)
    return torch.randn(batch, 1, side, side, device=device), torch.randint(len(CLASSES), (batch,), device=device)


def rates(case: Case, entered: Sequence[Entry], batch: int, rounds: int, device: str) -> list[float]:
    """Images a second of each entry, in its median step; steps alternate, and two of each go before."""
    images, labels = drawn(case.side, batch, device)
    steps = [step_of(case, who, setting, device) for who, setting in entered]
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(2 + rounds):
        for times, step in zip(taken, steps, strict=True):
            begin = time.perf_counter()
            step(images, labels)
            if images.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
    return [batch / statistics.median(times[2:]) for times in taken]


def best_setting(case: Case, who: str, chosen: argparse.Namespace) -> Setting:
    """The best one that is found choice after choice, each raced against the best before it."""
    best = Setting(case.attentions[0]) if who == "theirs" else Setting()
    changes: list[dict[str, Any]] = [{"attention": name} for name in case.attentions[1:] if who == "theirs"]
    changes += [{"precision": "bf16"}, *[{"compiled": True}] * chosen.compile]
    for change in changes:
        other = replace(best, **change)
        before, after = rates(case, [(who, best), (who, other)], chosen.batch, TRIAL, chosen.device)
        best = other if after > before else best
    return best


def compared(name: str, case: Case, chosen: argparse.Namespace) -> Iterator[Row]:
    """The rows of one configuration."""
    plain = [("ours", Setting()), ("theirs", Setting(case.attentions[0]))]
    best = [(who, best_setting(case, who, chosen)) for who, _ in plain]
    for title, entered in (("float32", plain), (f"best: {best[0][1]}", best)):
        ours, theirs = rates(case, entered, chosen.batch, chosen.rounds, chosen.device)
        metric = f"train_images_per_s {name} {title}"
        yield Row.beside(metric, ours, "images/s", f"{PEER} {entered[1][1]}", theirs, "higher")
    if chosen.device != "cpu" or sys.platform == "linux":
        ours, theirs = (memory_apart(name, who, chosen) for who, _ in plain)
        yield Row.beside(f"train_memory {name} float32", ours, "MiB", f"{PEER} {plain[1][1]}", theirs, "lower")


def memory_apart(name: str, who: str, chosen: argparse.Namespace) -> float:
    """What ``memory`` gives in a new process."""
    words = [sys.executable, __file__, "--alone", who, "--models", name, "--batch", str(chosen.batch)]
    ended = subprocess.run([*words, "--device", chosen.device], stdout=subprocess.PIPE, text=True, check=True)
    return float(ended.stdout)


def memory(case: Case, who: str, batch: int, device: str) -> float:
    """MiB that one model, its optimiser and three steps add at their peak to what the process had before."""
    images, labels = drawn(case.side, batch, device)
    model_and_loss(case, who, Setting(), "cpu")  # once for nothing, so that what is imported late is there
    forget_peak()
    before = resident() or 0.0
    step = step_of(case, who, Setting(), device)
    for _ in range(3):
        step(images, labels)
    return torch.cuda.max_memory_allocated() / 2**20 if images.is_cuda else (peak() or 0.0) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--models", default="*", help=f"a shell pattern for {', '.join(CASES)} (default all)")
    parser.add_argument("--batch", type=int, default=64, help="images per step (default 64)")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, after two to warm up (default 15)")
    parser.add_argument("--device", default="cpu", help="default cpu")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="leave the compiler out, for minutes"
    )
    parser.add_argument("--alone", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    cases = {name: case for name, case in CASES.items() if fnmatch(name, chosen.models)}
    if not cases:
        parser.error(f"--models {chosen.models}: expected a pattern for {', '.join(CASES)}")
    if chosen.alone:
        print(memory(next(iter(cases.values())), chosen.alone, chosen.batch, chosen.device))
        return
    about = {"device": device_name(torch.device(chosen.device)), "seed": 0, "threads": torch.get_num_threads()}
    rows: list[Row] = []
    for name, case in cases.items():
        rows += compared(name, case, chosen)
        emit(rows, chosen.json, about)  # so that a long run that is cut off leaves what it has


if __name__ == "__main__":
    main()
