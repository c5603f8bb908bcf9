"""Work in several processes of one thread each, so that its results are those of one process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from arcformer.errors import InputError

__all__ = ["done_by"]

T = TypeVar("T")
R = TypeVar("R")


def done_by(workers: int, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """What ``work`` makes of every task, in the order in which they are done.

    One worker is this process, on one thread for as long. More are new ones: they are spawned, because torch's threads
    do not survive a fork, and end with this process, even if that is killed. At most two tasks a worker are under way.

    Raises:
        InputError: a worker has ended unasked. And what ``work`` raises, after which no further task is begun.
    """
    return _here(work, tasks) if workers == 1 else _elsewhere(workers, work, tasks)


def _here(work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from map(work, tasks)
    finally:
        torch.set_num_threads(threads)


def _elsewhere(workers: int, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    waiting: set[Future[R]] = set()
    try:
        for task in tasks:
            if len(waiting) == 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            waiting.add(pool.submit(work, task))
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        raise InputError(
            "a worker process has ended unasked: it was killed, perhaps for want of memory (fewer workers need less), "
            'or the script that asks for workers does not do so below `if __name__ == "__main__":`'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process is interrupted, and ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
