"""Whatever goes wrong ends in a line that says what to do, and in an exit code. Never in a traceback."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from shell import SIMULATED, Command

from arcformer.tasks import TASKS
from arcformer.training.prepare import WRITTEN


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "did you mean 'train'? see arcformer --help"),
        (["train", "--otu", "run"], "--out"),
        (["train"], "--out dir is missing"),
        (["train", "a.toml", "b.toml"], "one run file, got a.toml and b.toml"),
        (["train", "no.toml", "--out", "run"], "no.toml cannot be read"),
        (["train", "training.steps", "--out", "run"], "training.steps cannot be read"),
        (["simulate", "deeplense/model1", "--count", "3", "--out", "x"], "did you mean 'deeplense/model-1'?"),
        (["simulate", "deeplense/model-1", "--out", "x"], "--count"),
        (["simulate", "deeplense/model-1", "--count", "none", "--out", "x"], "--count"),
        (["simulate", "deeplense/model-1", "--count", "0", "--out", "x"], "--count"),
        (["simulate", "deeplense/model-1", "--count", "1", "--out", "x", "--format", "csv"], "--format"),
        (["simulate", "survey/hst", "--count", "3", "--out", "x", "--psf", "no.fits"], "no.fits: no psf can be read"),
        (["simulate", "survey/hst", "--count", "3", "--out", "x", "--sources", "no"], "no: no such folder of stamps"),
        (["show", "deeplense/modle-1"], "did you mean 'deeplense/model-1'?"),
        (["show", "no.fits"], "no.fits: no such file or folder"),
        (["show", "deeplense/model-1", "--out", "x.gif"], ".png, .pdf, .svg"),
        (["show", "deeplense/model-1", "--pixels", "33"], "33 central pixels"),
        (["presets", "deeplense/modle-1"], "did you mean 'deeplense/model-1'?"),
        (["models", "vti"], "did you mean 'vit'?"),
        (["models", "no.such:Backbone"], "cannot be imported"),
        (["tasks", "clasify*"], "did you mean 'classify'?"),
        (["evaluate", "no-run", "--out", "x"], "no-run: no such folder"),
        (["evaluate", "no-run", "--out", "x", "--reference", "files"], "expected name=folder"),
        (["evaluate", "no-run", "--out", "x", "--reference", "test=files"], "not 'test'"),
        (["predict", "no-run", "a.npy"], "no-run: no such folder"),
        (["predict", "no-run", "a.npy", "--centre", "3"], "expected two numbers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_said_in_a_line(arcformer: Command, words: list[str], said: str) -> None:
    ended = arcformer(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("arcformer: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err.lower()
    assert not list(Path().iterdir())


def test_all_faults_of_a_configuration_at_once(arcformer: Command) -> None:
    Path("mine.toml").write_text("[training]\nsteps = -1\n[backbone]\nsise = 'tiny'\n")
    ended = arcformer("train", "mine.toml", "--out", "run", "tranining.rate=1", "training.rate=-1", "task.pool=max")
    assert ended.code == 2
    first, *faults = ended.err.splitlines()
    assert first == "arcformer: mine.toml: 5 faults"
    assert [fault.split(":")[0].strip() for fault in sorted(faults)] == [
        "backbone.sise", "task.pool", "training.rate", "training.steps", "tranining",
    ]  # fmt: skip
    assert "did you mean 'size'" in ended.err
    assert "did you mean 'training'" in ended.err
    assert not Path("run").exists()


def test_nothing_is_overwritten(arcformer: Command, trained: Path) -> None:
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("years of work")
    commands = [
        ["train", "--out", "full", *SIMULATED],
        ["train", "--out", "full", "--resume", *SIMULATED],
        ["train", "--out", "full/thesis.tex", *SIMULATED],
        ["simulate", "deeplense/model-2", "--count", "3", "--pixels", "16", "--out", "full"],
        ["simulate", "deeplense/model-2", "--count", "3", "--pixels", "16", "--out", "full", "--format", "fits"],
        ["simulate", "deeplense/model-2", "--count", "3", "--pixels", "16", "--out", "full/thesis.tex"],
        ["evaluate", trained, "--out", "full/thesis.tex"],
        ["evaluate", trained, "--out", trained],
    ]
    for command in commands:
        ended = arcformer(*command)
        assert ended.code == 2, command
        assert ended.err.startswith("arcformer: ")
    assert [path.name for path in Path().rglob("*")] == ["full", "thesis.tex"]
    assert Path("full/thesis.tex").read_text() == "years of work"


def test_a_run_that_cannot_begin_leaves_its_folder_free(arcformer: Command) -> None:
    ended = arcformer("train", "--out", "run", *SIMULATED, "backbone.heads=3")
    assert ended.code == 2
    assert "dim 128 is not a multiple of 4 * heads = 12" in ended.err
    assert not any((Path("run") / name).exists() for name in WRITTEN)
    assert arcformer("train", "--out", "run", *SIMULATED).code == 0


def test_errors_of_the_system_are_said_in_a_line(arcformer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/model.safetensors")

    monkeypatch.setattr("arcformer.training.run.conclude", full)
    ended = arcformer("train", "--out", "run", *SIMULATED)
    assert (ended.code, ended.err) == (2, "arcformer: run/model.safetensors: No space left on device\n")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(
    arcformer: Command, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TASKS.get("classify"), "after_step", lambda _, step: step == 4 and signal.raise_signal(sent))
        words = ["train", "--out", "a run", *SIMULATED, "training.save_every=2"]
        handler = signal.getsignal(sent)
        ended = arcformer(*words)
    assert ended.code == 130
    assert signal.getsignal(sent) is handler
    assert "it goes on from step 2" in ended.err
    assert "arcformer train --out 'a run'" in ended.err
    assert ended.err.endswith("--resume\n")
    assert arcformer(*words).code == 2
    resumed = arcformer(*words, "--resume")
    assert resumed.code == 0
    assert "of 4\n" in resumed.out
    assert arcformer(*words, "--resume").out == resumed.out  # finished already: the same summary


def test_ctrl_c_while_simulating(arcformer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["simulate", "deeplense/model-2", "--count", "6", "--pixels", "16", "--out", "lenses"]
    with monkeypatch.context() as patch:
        patch.setattr("arcformer.data.store.write_shard", lambda *_: signal.raise_signal(signal.SIGINT))
        ended = arcformer(*words)
        exported = arcformer(*words[:-1], "files", "--format", "fits")
    assert (ended.code, exported.code) == (130, 130)
    assert ended.err == f"arcformer: interrupted; the same command goes on: arcformer {' '.join(words)}\n"
    assert exported.err == "arcformer: interrupted\n"
    assert [path.name for path in Path().iterdir()] == ["lenses"]
    assert arcformer(*words).code == 0


def test_ctrl_c_elsewhere(arcformer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcformer.cli.presets._row", lambda _: signal.raise_signal(signal.SIGINT))
    ended = arcformer("presets")
    assert (ended.code, ended.err) == (130, "arcformer: interrupted\n")


def test_only_warnings_of_this_package_are_shown(arcformer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from arcformer.sim import presets

    def warn(_: object) -> tuple[str, ...]:
        warnings.warn("torch has opinions", stacklevel=1)
        warnings.warn_explicit("file is damaged", UserWarning, presets.__file__, 1)
        return ("", "", "", "", "")

    monkeypatch.setattr("arcformer.cli.presets._row", warn)
    monkeypatch.setattr("arcformer.cli.entry.OURS", Path(presets.__file__).parent)
    ended = arcformer("presets")
    assert ended.code == 0
    assert set(ended.err.splitlines()) == {"arcformer: file is damaged"}


def test_other_processes_of_a_run_are_silent_until_they_fail(
    arcformer: Command, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("arcformer.training.run.fit", lambda *_, **__: None)
    ended = arcformer("train", "--out", trained, "--resume")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    ended = arcformer("train", "--out", "run", "seed=none")
    assert ended.code == 2
    assert ended.err.startswith("arcformer (another process of this run): ")


def test_a_reader_that_has_seen_enough() -> None:
    command = f"{sys.executable} -m arcformer --help | true"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert ended.stderr == ""
