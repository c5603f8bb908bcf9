"""A process that imports Lightning once and then forks for every run: a run can be killed and costs no import.

It reads a job a line from stdin, as JSON, and answers each with a line: how every process of the run ended.
An empty line ends it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from arcformer.config import read
from arcformer.training import RunConfig, fit


def tear(writing: int) -> None:
    """Make this process kill itself in the middle of writing its resume file number ``writing``."""
    save, count = torch.save, 0

    def torn(content: Any, file: io.BufferedWriter) -> None:
        nonlocal count
        count += 1
        if count < writing:
            return save(content, file)
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = torn


def work(job: dict[str, Any]) -> None:
    os.environ.update(job.get("environment", {}))
    if job.get("tear"):
        tear(job["tear"])
    fit(read(RunConfig, job["recipe"], job.get("overrides", [])), job["folder"], resume=job.get("resume", False))


def start(job: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    os.dup2(2, 1)
    try:
        work(job)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        if not line.strip():
            return
        job = json.loads(line)
        ranks = job.get("ranks", [{}])
        children = [start(job | {"environment": job.get("environment", {}) | rank}) for rank in ranks]
        if "kill_after_lines" in job:  # from outside, wherever it is then
            log = Path(job["folder"], "log.jsonl")
            while not log.exists() or len(log.read_text().splitlines()) < job["kill_after_lines"]:
                time.sleep(0.001)
            os.kill(children[0], signal.SIGKILL)
        ends = [os.waitpid(child, 0)[1] for child in children]
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(end) for end in ends]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
