"""The bar: there for what takes long, on a terminal. Nothing is lost or held up by it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from arcformer import progress
from arcformer.progress import terminal, track, working


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.01)


def wait_for_the_bar(console: Console) -> None:
    for _ in range(1000):
        if shown(console):
            return
        time.sleep(0.01)
    raise AssertionError("no bar has come up in ten seconds")


def test_what_takes_a_moment_has_no_bar(screen: Console) -> None:
    assert list(track("abc", "reading", console=screen)) == ["a", "b", "c"]
    assert shown(screen) == ""


@pytest.mark.usefixtures("_impatient")
def test_what_takes_long_has_a_bar_with_a_rate_and_the_time_left(
    screen: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 100, 3))
    monkeypatch.setattr(progress, "monotonic", lambda: float(next(seconds)))
    passed = []
    for batch in track(iter([[0] * 30] * 4), "evaluating", 4, size=len, console=screen):
        wait_for_the_bar(screen)
        passed.append(batch)
    assert passed == [[0] * 30] * 4
    for text in ("evaluating", "10 images/s", ":"):
        assert text in shown(screen)


@pytest.mark.usefixtures("_impatient")
def test_the_bar_comes_up_while_the_first_item_is_waited_for(screen: Console) -> None:
    def slow() -> Iterator[int]:
        wait_for_the_bar(screen)
        yield 1

    assert list(track(slow(), "simulating", 1, console=screen)) == [1]


def test_the_number_of_items_is_found_where_it_can_be(screen: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = []
    added = progress.Progress.add_task
    monkeypatch.setattr(progress.Progress, "add_task", lambda *a, **k: [totals.append(k["total"]), added(*a, **k)][1])
    for items, total in (([1, 2], None), (iter([1, 2]), None), (iter([1, 2]), 2)):
        assert list(track(items, "reading", total, console=screen)) == [1, 2]
    assert totals == [2, None, 2]


@pytest.mark.usefixtures("_impatient")
def test_the_bar_is_taken_away_when_the_work_fails(screen: Console) -> None:
    def work() -> None:
        for _ in track(range(3), "reading", console=screen):
            wait_for_the_bar(screen)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert shown(screen).endswith("\x1b[2K")  # its line is erased
    assert "\x1b[?25h" in shown(screen)  # and the cursor is back


@pytest.mark.usefixtures("_impatient")
def test_work_that_cannot_tell_how_far_it_is(screen: Console) -> None:
    with working("auditing", console=screen):
        wait_for_the_bar(screen)
    assert "auditing" in shown(screen)
    assert shown(screen).endswith("\x1b[2K")


@pytest.mark.usefixtures("_impatient")
def test_silence_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in track(range(3), "reading"):
        time.sleep(0.02)
    with working("auditing"):
        time.sleep(0.02)
    assert capsys.readouterr().err == ""
    assert terminal().quiet
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert not terminal().quiet
    assert terminal(quiet=True).quiet
