"""How much of a device a training step uses: images a second, TFLOP/s, and what the time goes into.

    python benchmarks/utilisation.py --json utilisation.json            on a GPU, within 90 s
    python benchmarks/utilisation.py --device cpu --small               the same path in seconds, to see that it works

A step is forward, backward and optimiser of a ``vit`` that classifies images of ``--pixels`` in bfloat16 by autocast,
compiled as ``training.compile`` does, for each of ``--batches``. ``tflops`` is 2 x 3 x multiply-adds of an image (those
of matrix products, convolutions and attention, forward; backward counts twice) x images a second. ``utilisation`` is
that over the largest product of matrices that this device does in the same run (``matmul``, 8192 x 8192 x 8192 in
bfloat16); ``utilisation_datasheet`` over what its maker says.

Of the batch size that did most, ``share KIND`` is the part of a step that goes into attention, matrix products,
convolutions, what is done cell by cell (norms, activations, sums, casts), copies, and the optimiser; ``idle`` is when
the device waits for the host. ``upload`` is what bringing the next images from the host would take, which is not part
of a step and can go on beside it.

What does not fit into memory is left out with a note, as is what there is no time left for (``--seconds``); a run that
is cut off leaves the rows that it had.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rows import Row, emit
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from arcformer.batch import LensBatch
from arcformer.models import VisionTransformer
from arcformer.studies.profile import multiply_adds
from arcformer.tasks import Classify
from arcformer.training.optimizer import optimizer
from arcformer.training.precision import autocast
from arcformer.training.provenance import device_name
from arcformer.training.recipe import TrainingSection

CLASSES = ("no_sub", "cdm", "axion")

DATASHEET = {"H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "H200": 989.0, "A100": 312.0, "L40": 181.0}
"""Dense bfloat16 TFLOP/s by a part of the device's name, the first that is found."""

KINDS = {
    "attention": ("flash", "fmha", "sdpa", "attention"),
    "convolution": ("conv", "fprop", "dgrad", "wgrad", "nchw", "nhwc"),
    "copies": ("memcpy", "memset", "copy_"),
    "products": ("gemm", "nvjet", "cutlass", "cublas", "splitk", "aten::mm", "aten::addmm", "aten::bmm", "mkldnn"),
}
"""Words in the names of kernels; what has none of them is done cell by cell."""

SPANS = ("##", "Torch-Compiled", "Optimizer.", "ProfilerStep")
"""How the profiler's names for stretches of time begin."""


@dataclass(frozen=True)
class Step:
    """A training step for one batch size, in its parts.

    Attributes:
        loss: forward and backward.
        move: the optimiser, which also forgets the gradients.
        batch: images.
    """

    loss: Callable[[], object]
    move: Callable[[], object]
    batch: int

    def __call__(self) -> None:
        self.loss()
        self.move()


def step_for(task: Classify, chosen: argparse.Namespace, batch: int, compiled: bool) -> Step:
    """The step of ``task`` on images that are already on the device.

    Compiled, it is so once for all batch sizes, which saves a minute each and costs no alignment: batches come first.
    """
    device, side = torch.device(chosen.device), chosen.pixels
    images = torch.randn(batch, 1, side, side, device=device)
    labels = torch.randint(len(CLASSES), (batch,), device=device)
    optimiser = optimizer(task, TrainingSection(optimizer=chosen.optimizer))
    for tensor in (images, labels):
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    loss_of = torch.compile(task.loss) if compiled else task.loss

    def loss() -> None:
        with autocast("bf16", device):
            value = loss_of(LensBatch(images, labels=labels, classes=CLASSES))["loss"]
        value.backward()

    def move() -> None:
        optimiser.step()
        optimiser.zero_grad()

    return Step(loss, move, batch)


def seconds(function: Callable[[], object], device: torch.device, rounds: int, at_once: int = 1) -> float:
    """How long a call takes: the median of ``rounds``, each of several calls ``at_once`` between two waits."""
    taken = []
    for _ in range(rounds):
        wait(device)
        begin = time.perf_counter()
        for _ in range(at_once):
            function()
        wait(device)
        taken.append((time.perf_counter() - begin) / at_once)
    return statistics.median(taken)


def wait(device: torch.device) -> None:
    """For what the device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul(side: int, device: torch.device) -> float:
    """TFLOP/s of a product of two square matrices in bfloat16."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    seconds(lambda: torch.matmul(a, b, out=out), device, rounds=3)
    return 2 * side**3 / seconds(lambda: torch.matmul(a, b, out=out), device, rounds=10, at_once=5) / 1e12


def shares(step: Step, device: torch.device, rounds: int = 3) -> dict[str, float]:
    """What a step goes into, as parts of it: kinds of kernels, the optimiser, and a GPU that waits for its host."""
    whole = seconds(step, device, rounds=5)
    moves = []
    for _ in range(rounds):
        step.loss()
        moves.append(seconds(step.move, device, rounds=1))
    spent = dict.fromkeys((*KINDS, "cell by cell"), 0.0)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as record:
        for _ in range(rounds):
            step.loss()
        wait(device)
    step.move()
    for event in record.key_averages():
        if on_gpu and (event.device_type != DeviceType.CUDA or event.is_user_annotation or event.key.startswith(SPANS)):
            continue  # of the host, or a name for a stretch of time whose kernels are listed as well
        spent[kind_of(event.key)] += (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
    if not any(spent.values()):
        raise RuntimeError("the profiler saw no kernel")
    spent = {kind: each / rounds for kind, each in spent.items()}
    spent["optimiser"] = statistics.median(moves)
    spent["idle"] = max(0.0, whole - sum(spent.values()))
    return {kind: each / max(whole, sum(spent.values())) for kind, each in spent.items()}


def kind_of(kernel: str) -> str:
    """Which of ``KINDS`` a kernel is, by its name.

    Those that the compiler writes are named after all that they are next to, and are cell by cell themselves.
    """
    name = kernel.lower()
    if name.startswith("triton_"):
        return "cell by cell"
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "cell by cell")


def upload(batch: int, side: int, device: torch.device) -> float:
    """Seconds to bring a batch of images from the host."""
    images = torch.randn(batch, 1, side, side)
    images = images.pin_memory() if device.type == "cuda" else images
    return seconds(lambda: images.to(device, non_blocking=True, copy=True), device, rounds=10)


def measured(chosen: argparse.Namespace) -> Iterator[Row]:
    """The rows, each as soon as it is known."""
    began, device = time.perf_counter(), torch.device(chosen.device)
    best_of_device = matmul(512 if chosen.small else 8192, device)
    told = next((value for part, value in DATASHEET.items() if part in device_name(device)), None)
    if told is None:
        yield Row("matmul bfloat16", best_of_device, "TFLOP/s")
    else:
        yield Row.beside("matmul bfloat16", best_of_device, "TFLOP/s", "datasheet", told, "higher")
    torch.manual_seed(0)
    options: dict[str, Any] = {"dim": 32, "depth": 1, "heads": 2} if chosen.small else {"size": chosen.size}
    backbone = VisionTransformer(chosen.pixels, 1, patch=chosen.patch, **options)
    task = Classify(backbone, CLASSES).to(device).train()
    work = multiply_adds(backbone, torch.randn(1, 1, chosen.pixels, chosen.pixels, device=device))
    yield Row("multiply_adds", float(work), "per image")
    compiled, done = chosen.compile, {}
    waiting = list(chosen.batches)
    while waiting:
        batch, start = waiting.pop(0), time.perf_counter()
        if start - began > chosen.seconds:
            tell(f"batch {batch}: left out, after {start - began:.0f} s")
            continue
        words = f"vit {chosen.pixels}x{chosen.pixels} bf16 {'compiled' if compiled else 'eager'} batch {batch}"
        try:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            step = step_for(task, chosen, batch, compiled)
            step()
            wait(device)
            warm = time.perf_counter() - start
            seconds(step, device, rounds=2)
            per_second = batch / seconds(step, device, rounds=chosen.rounds, at_once=3)
        except torch.OutOfMemoryError:
            tell(f"batch {batch}: does not fit into memory")
        except Exception as error:
            if not compiled:
                raise
            tell(f"batch {batch}: not compiled, eager from here ({type(error).__name__}: {str(error).splitlines()[0]})")
            compiled = False
            waiting.insert(0, batch)
        else:
            done[per_second] = step
            flops = 6 * work * per_second / 1e12
            yield Row(f"train_images_per_s {words}", per_second, "images/s")
            yield Row(f"tflops {words}", flops, "TFLOP/s")
            yield Row(f"utilisation {words}", flops / best_of_device, f"of matmul's {best_of_device:.3g} TFLOP/s")
            if told:
                yield Row(f"utilisation_datasheet {words}", flops / told, f"of {told:g} TFLOP/s")
            yield Row(f"first_step_s {words}", warm, "s")
            if device.type == "cuda":
                yield Row(f"memory {words}", torch.cuda.max_memory_allocated(device) / 2**30, "GiB")
        task.zero_grad()  # what a step that failed has left
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if not done:
        return
    step = done[max(done)]
    whole = step.batch / max(done)
    yield Row(f"upload batch {step.batch}", upload(step.batch, chosen.pixels, device) / whole, "of a step")
    try:
        for kind, share in shares(step, device).items():
            yield Row(f"share {kind} batch {step.batch}", share, "of a step")
    except RuntimeError as error:  # a machine on which nobody may profile
        tell(f"no shares: {str(error).splitlines()[0]}")


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there, with date, device, versions and commit")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="small", help="of vit (default small)")
    parser.add_argument("--pixels", type=int, default=64, help="side of the images (default 64)")
    parser.add_argument("--patch", type=int, default=4, help="side of a patch, pixels (default 4)")
    parser.add_argument("--batches", type=int, nargs="+", default=None, help="default 1024 512 2048")
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon", help="default muon, as in training")
    parser.add_argument("--rounds", type=int, default=5, help="of three steps each, of which the median (default 5)")
    parser.add_argument("--seconds", type=float, default=70.0, help="begin no batch size after that (default 70)")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="eager")
    parser.add_argument("--small", action="store_true", help="a network and batches for which a CPU takes seconds")
    chosen = parser.parse_args(arguments)
    if chosen.small:
        chosen.pixels = 16
    chosen.batches = chosen.batches or ([4, 2] if chosen.small else [1024, 512, 2048])
    rows: list[Row] = []
    try:
        for row in measured(chosen):
            rows.append(row)
            tell(f"{row.name}: {row.value:.4g} {row.unit}")
    finally:
        about = {"device": device_name(torch.device(chosen.device)), "seed": 0, "optimizer": chosen.optimizer}
        emit(rows, chosen.json, about)


if __name__ == "__main__":
    main()
