"""From files to a table and pictures: every format, every fault, and nothing of flux or place lost on the way."""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from arcformer.batch import LensBatch
from arcformer.config import read
from arcformer.data.domain import Domain
from arcformer.data.files import find_images, read_image
from arcformer.data.image import BadFile
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform
from arcformer.errors import InputError
from arcformer.predict import Predictions, predict, write_predictions
from arcformer.training import Run, RunConfig
from arcformer.training.build import build_task
from arcformer.training.folder import Network

SIZE, SCALE = 40, 0.12  # of what the network sees
TINY = (
    "data.preset=deeplense/model-2", f"transform.size={SIZE}", f"transform.pixel_scale={SCALE}",
    "backbone.size=tiny", "backbone.patch=8", "task.dropout=0.5",
)  # fmt: skip


def simulated(count: int, split: str) -> LensBatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        return SimulatedBatches("deeplense/model-2", batch_size=count, seed=1, split=split).batch(0)


@pytest.fixture(scope="module")
def run() -> Run:
    """A run of deeplense/model-2 whose network is as it was drawn."""
    config = read(RunConfig, overrides=TINY)
    batch = simulated(48, "train")
    transform = Transform(config.transform).fit([batch])
    torch.manual_seed(0)
    return Run(
        folder=Path("run"),
        config=config,
        task=build_task(config, batch.classes, SIZE, 1),
        transform=transform,
        domain=Domain.fit([batch], transform),
        classes=batch.classes,
        metrics={},
        network=Network(SIZE, 1, batch.classes),
    )


def lens(side: int = 160, scale: float = 0.05, y: float = 0.0, x: float = 0.0) -> np.ndarray:
    """A galaxy in a ring of 1 arcsec, (y, x) arcsec from the middle, in a little noise."""
    at = (np.arange(side) - (side - 1) / 2) * scale
    r = np.hypot(at[:, None] - y, at[None] - x)
    clean = np.exp(-((r - 1) ** 2) / 0.02) + 4 * np.exp(-r / 0.1)
    return clean + np.random.default_rng(0).normal(0, 0.02, (side, side))


def write_fits(path: Path, image: np.ndarray, scale: float | None = 0.05, unit: str = "") -> Path:
    header = fits.Header()
    if scale is not None:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-scale / 3600, scale / 3600]
        header = wcs.to_header()
    if unit:
        header["BUNIT"] = unit
    fits.PrimaryHDU(image, header).writeto(path)
    return path


def inside(image: np.ndarray, y: float, x: float, half: float) -> float:
    """The flux in a square of half-width ``half`` about (y, x), in pixels; pixels on its edge count by area."""
    rows, columns = (
        np.clip(np.minimum(np.arange(n) + 0.5, c + half) - np.maximum(np.arange(n) - 0.5, c - half), 0, 1)
        for n, c in zip(image.shape, (y, x), strict=True)
    )
    return float(rows @ image @ columns)


def test_a_fits_file_becomes_a_row_and_a_picture(run, tmp_path):
    path = write_fits(tmp_path / "lens.fits", lens(y=0.8, x=-0.5), unit="e-/s")
    seen: list[Path] = []
    (one,) = predict(run, [tmp_path], progress=lambda paths: seen.extend(paths) or paths).found
    assert seen == [path]
    assert list(one.row) == [
        "path", "class", "p_no_sub", "p_cdm", "p_axion", "centre_y", "centre_x", "pixel_scale", "notes"
    ]  # fmt: skip
    assert one.row["path"] == str(path)
    assert one.row["centre_y"] == pytest.approx(79.5 + 16, abs=0.5)
    assert one.row["centre_x"] == pytest.approx(79.5 - 10, abs=0.5)
    assert one.row["pixel_scale"] == pytest.approx(0.05)
    assert list(one.probabilities) == list(run.classes)
    assert sum(one.probabilities.values()) == pytest.approx(1)
    assert one.row["class"] == max(one.probabilities, key=one.probabilities.__getitem__)
    assert one.image.images.shape == (1, 1, SIZE, SIZE)
    assert one.image.unit == "e-/s"
    peak = one.image.images[0, 0].argmax().item()
    assert abs(peak // SIZE - 19.5) <= 1
    assert abs(peak % SIZE - 19.5) <= 1
    assert one.row["notes"] == "; ".join(one.notes)
    assert any("unit 'e-/s'" in note for note in one.notes)
    assert one.picture().startswith(b"\x89PNG")


def test_the_network_says_what_it_says_when_it_is_asked_by_hand(run, tmp_path):
    path = write_fits(tmp_path / "lens.fits", lens())
    run.task.train()  # whatever state it was left in: dropout is off
    (one,) = predict(run, [path], centre=(80.0, 79.0)).found
    (again,) = predict(run, [path], centre=(80.0, 79.0)).found
    assert again.row == one.row
    batch = run.transform(read_image(path, classes=run.classes), centre=torch.tensor([[80.0, 79.0]]))
    by_hand = run.task.predict(batch).probabilities[0]
    assert list(one.probabilities.values()) == pytest.approx(by_hand.tolist())
    assert (one.row["centre_y"], one.row["centre_x"]) == (80, 79)


@pytest.mark.parametrize("scale", [0.03, 0.05, 0.06, 0.12, 0.2])
def test_flux_is_kept_by_crop_and_resampling(run, tmp_path, scale):
    image = lens(side=round(8 / scale), scale=scale, y=0.3, x=-0.4)
    (one,) = predict(run, [write_fits(tmp_path / "lens.fits", image, scale)]).found
    there = inside(image, one.row["centre_y"], one.row["centre_x"], SIZE * SCALE / scale / 2)
    assert float(one.image.images.sum()) == pytest.approx(there, rel=0.01)


def test_telescope_images_go_through_untouched(run, samples, tmp_path):
    paths, _ = find_images([samples / "lenses"])
    with pytest.raises(BadFile, match=r"slacs03_1_post\.fits: does not say its pixel scale.*--pixel-scale"):
        predict(run, [samples / "lenses"])
    predictions = predict(run, [samples / "lenses"], pixel_scale=0.03)
    assert [one.path for one in predictions.found] == paths
    for one in predictions.found:
        raw = read_image(one.path)
        scale = 0.03 if "slacs" in one.path.name else raw.pixel_scale.item()
        assert one.row["pixel_scale"] == pytest.approx(scale, rel=1e-4)
        half = SIZE * SCALE / scale / 2
        there = inside(raw.images[0, 0].double().numpy(), one.row["centre_y"], one.row["centre_x"], half)
        assert float(one.image.images.sum()) == pytest.approx(there, rel=0.01), one.path.name
        middle = one.image.images[0, 0, SIZE // 2 - 3 : SIZE // 2 + 3, SIZE // 2 - 3 : SIZE // 2 + 3]
        assert middle.max() == one.image.images.max() or "quasar" in one.path.name
        assert one.notes
    table, pictures = write_predictions(tmp_path / "out", predictions)
    assert len(rows_of(table)) == len(pictures) == 10


def test_who_says_the_pixel_scale(run, tmp_path):
    silent = write_fits(tmp_path / "silent.fits", lens(), None)
    with pytest.raises(BadFile, match=r"silent\.fits: does not say its pixel scale, and the run needs .* 0\.12 arcsec"):
        predict(run, [silent])
    np.save(tmp_path / "mute.npy", lens(64, 0.101))
    Image.fromarray((40 * lens(64, 0.101) + 20).clip(0, 255).astype(np.uint8)).save(tmp_path / "mute.png")
    for path in (tmp_path / "mute.npy", tmp_path / "mute.png"):
        (one,) = predict(run, [path]).found
        assert one.row["pixel_scale"] == pytest.approx(0.101)
        assert "pixel scale and unit taken to be those of deeplense/model-2, 0.101 arcsec" in one.row["notes"]
    said = write_fits(tmp_path / "said.fits", lens(), 0.05)
    by_name = {one.path.name: one.row for one in predict(run, [tmp_path], pixel_scale=0.06).found}
    assert {name: row["pixel_scale"] for name, row in by_name.items()} == {
        "mute.npy": pytest.approx(0.06),
        "mute.png": pytest.approx(0.06),
        "said.fits": pytest.approx(0.05),
        "silent.fits": pytest.approx(0.06),
    }
    assert "the file's own, 0.05 arcsec, not 0.06 as given" in by_name[said.name]["notes"]
    assert "as given" not in by_name["silent.fits"]["notes"]
    whole = replace(run, transform=Transform(replace_section(run, size=48, pixel_scale=None)).fit([as_batch(lens())]))
    (one,) = predict(whole, [silent]).found
    assert one.row["pixel_scale"] == ""
    assert "pixel scale unknown" in one.row["notes"]


def replace_section(run: Run, **changes: object):
    return run.config.transform.model_copy(update=changes)


def as_batch(image: np.ndarray) -> LensBatch:
    return LensBatch(torch.from_numpy(image).float()[None, None])


def test_notes_say_what_is_unusual(run, tmp_path):
    np.save(tmp_path / "ordinary.npy", simulated(3, "test").images[0].numpy())
    (one,) = predict(run, [tmp_path / "ordinary.npy"], pixel_scale=0.101).found
    assert one.notes == ()
    image = lens(y=1.2)
    image[100:104, 70:90] = np.nan
    (one,) = predict(run, [write_fits(tmp_path / "far.fits", image)]).found
    assert any(note.startswith("lens found 1.2 arcsec from the middle") for note in one.notes)
    assert any("are bad pixels" in note for note in one.notes)
    assert any(note.startswith("pixel scale 0.05 arcsec, seen was 0.101") for note in one.notes)
    assert not any("beyond" in note for note in one.notes)
    (one,) = predict(run, [write_fits(tmp_path / "small.fits", lens(side=80))]).found
    outside = 1 - (80 * 0.05 / (SIZE * SCALE)) ** 2
    assert any(note.endswith("lies beyond the image and is padded") for note in one.notes)
    share = next(float(note.split(" %")[0]) for note in one.notes if "beyond" in note)
    assert share == pytest.approx(100 * outside, abs=6)  # pixels that are padded in part count as a whole
    assert not any("far" in note or "nan" in note for note in one.notes)


def test_a_given_centre_must_lie_in_the_image(run, tmp_path):
    path = write_fits(tmp_path / "lens.fits", lens(y=1.5))
    (one,) = predict(run, [path], centre=(79.5, 79.5)).found
    assert not any("from the middle" in note for note in one.notes)
    with pytest.raises(BadFile, match=r"lens\.fits: centre 200, 3 lies outside of its 160 x 160 pixels"):
        predict(run, [path], centre=(200, 3))


def test_other_formats_and_channels(run, tmp_path):
    with h5py.File(tmp_path / "image_a.h5", "w") as file:
        file["image_data"], file["transform_pix2angle"] = lens(), 0.05 * np.eye(2)
    assert predict(run, [tmp_path]).found[0].row["pixel_scale"] == pytest.approx(0.05)
    Image.new("RGB", (64, 64)).save(tmp_path / "colour.png")
    with pytest.raises(BadFile, match=r"colour\.png: its image has 3 channels, but .* images of 1 channel"):
        predict(run, [tmp_path / "colour.png"])
    with pytest.raises(InputError, match=r"a \.h5 file has no band"):
        predict(run, [tmp_path / "image_a.h5"], band="VIS")


class Bomb:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_bad_files_are_errors_or_left_out_and_listed_and_no_code_runs(run, tmp_path):
    folder, marker = tmp_path / "files", tmp_path / "it-ran"
    folder.mkdir()
    good = folder / "good.npy"
    np.save(good, lens(64, 0.101))
    np.save(folder / "nan.npy", np.full((64, 64), np.nan))
    (folder / "short.npy").write_bytes(good.read_bytes()[:999])
    (folder / "words.npy").write_text("not an array")
    (folder / ".DS_Store").touch()
    parts = np.empty(1, dtype=object)
    parts[0] = Bomb(marker)
    np.save(folder / "bomb.npy", parts, allow_pickle=True)
    pickle.loads(pickle.dumps(Bomb(marker)))  # the bomb is a live one
    marker.unlink()
    for name in ("nan", "short", "words", "bomb"):
        with pytest.raises(BadFile, match=rf"{name}\.npy: "):
            predict(run, [folder / f"{name}.npy"])
    with pytest.raises(BadFile, match=r"bomb\.npy: refused"):
        predict(run, [folder])
    predictions = predict(run, [folder], skip_bad=True)
    assert [one.path for one in predictions.found] == [good]
    assert [Path(line.split(": ")[0]).stem for line in predictions.skipped] == ["bomb", "nan", "short", "words"]
    assert predictions.junk == 1
    table, pictures = write_predictions(tmp_path / "out", predictions)
    assert (tmp_path / "out" / "skipped.txt").read_text().splitlines() == list(predictions.skipped)
    assert len(rows_of(table)) == len(pictures) == 1
    assert not marker.exists()
    with pytest.raises(BadFile, match=r"nan\.npy"):
        predict(run, [folder / "nan.npy"], skip_bad=True)
    with pytest.raises(InputError, match="no such file"):
        predict(run, [folder / "missing.fits"], skip_bad=True)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_read_back_and_names_do_not_collide(run, tmp_path):
    image = lens(64, 0.101)
    names = ("a/lens.npy", "b/lens.npy", "b/Lens.npy", 'c, "d"/lens.v2.npy', "c/lens-2.npy")
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "in" / name, image)
    write_fits(tmp_path / "in" / "lens.fits", lens())
    predictions = predict(run, [tmp_path / "in"])
    table, pictures = write_predictions(tmp_path / "out", predictions)
    assert table == tmp_path / "out" / "predictions.csv"
    rows = rows_of(table)
    assert [row["path"] for row in rows] == [one.row["path"] for one in predictions.found]
    assert [row["notes"] for row in rows] == [one.row["notes"] for one in predictions.found]
    assert float(rows[0]["p_cdm"]) == pytest.approx(predictions.found[0].row["p_cdm"], rel=1e-5)
    assert [row["picture"] for row in rows] == [path.name for path in pictures]
    assert len({path.name.lower() for path in pictures}) == len(names) + 1
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert table.read_bytes().count(b"\r\n") == len(names) + 2
    assert "lens.v2.png" in {path.name for path in pictures}


def test_only_predictions_are_replaced(run, tmp_path):
    np.save(tmp_path / "a.npy", lens(64, 0.101))
    np.save(tmp_path / "b.npy", lens(64, 0.101))
    both = predict(run, [tmp_path / "a.npy", tmp_path / "b.npy"])
    out = tmp_path / "out"
    write_predictions(out, both)
    write_predictions(out, Predictions(both.found[:1], ("c.npy: empty",)))
    assert {path.name for path in out.iterdir()} == {"predictions.csv", "a.png", "skipped.txt"}
    write_predictions(out, both)
    assert {path.name for path in out.iterdir()} == {"predictions.csv", "a.png", "b.png"}
    (out / "mine.png").write_text("mine")
    for folder in (out, tmp_path):
        before = sorted(folder.iterdir())
        with pytest.raises(InputError, match=r"holds something else, as (mine\.png|a\.npy)"):
            write_predictions(folder, both)
        assert sorted(folder.iterdir()) == before
    with pytest.raises(InputError, match="is a file"):
        write_predictions(tmp_path / "a.npy", both)


def test_a_task_without_classes_is_drawn_without_them(run, tmp_path):
    (one,) = predict(run, [write_fits(tmp_path / "lens.fits", lens())]).found
    shared = SimpleNamespace(table=lambda _: {"score": [1.5]}, predict=lambda _: None, parameters=run.task.parameters)
    silent = replace(run, task=SimpleNamespace(eval=lambda: None, **vars(shared)))
    (bare,) = predict(silent, [one.path]).found
    assert bare.probabilities == {}
    assert bare.row["score"] == 1.5
    assert bare.picture().startswith(b"\x89PNG")
