"""Scores of anomaly, compared with which images are anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.metrics import Estimate
from arcformer.metrics.detection import FALSE_ALARMS, percent, weighted_detection
from arcformer.metrics.intervals import WeightedMetrics
from arcformer.sim.presets import PRESETS, Preset
from arcformer.studies.detection import figures, sentences
from arcformer.studies.detection.extremes import Extremes, Pictured
from arcformer.studies.detection.known import numbers_of
from arcformer.studies.detection.measures import (
    RANGES,
    above_trivial,
    box_plotted,
    curves,
    found_in,
    kept_promises,
    nuisances,
    oddity,
)
from arcformer.studies.detection.trivial import METHODS, TrivialScores, trivial_of
from arcformer.studies.detection.where import Where
from arcformer.studies.evaluation import Evaluation, Gathering, as_json
from arcformer.studies.leaks import FEATURES, trivial_features
from arcformer.studies.oddities import Normals, panel
from arcformer.studies.style import colours, png_uri, svg_uri
from arcformer.tasks import Detector

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["DetectionEvaluation", "DetectionGathering"]

ODD = 200
"""Normal images, at most, that oddities are put into."""

AT_ONCE = 64
"""Odd images that are scored at a time."""

SHOWN = 3
"""Pictures of each oddity."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DetectionEvaluation(Evaluation):
    """A run's result on N images of K classes, some of them normal.

    Attributes:
        classes: names of the classes, in the order of the labels.
        normal: those that are not anomalous.
        labels: (N,), index into ``classes``.
        scores, p_values: (N,).
        found: every number, by name.
        curves: recall against properties of substructure, as rows.
        thresholds: scores above which an image is flagged, by what sets them.
        calibration: how many calibration scores the p-values stand on, where the task says so.
        trivial: scores of trivial features without labels; None without the training images.
        no_trivial: why there are none.
        extremes: the most and the least anomalous images, with their maps.
        oddities: pictures of the oddities that were tried.
        no_oddities: why others could not be, by name.
    """

    classes: tuple[str, ...]
    normal: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: Array
    p_values: Array
    found: dict[str, Estimate]
    curves: list[dict[str, Any]]
    thresholds: dict[str, float]
    calibration: int | None
    trivial: TrivialScores | None
    no_trivial: str
    extremes: Pictured | None
    oddities: Pictured | None
    no_oddities: dict[str, str]

    part: ClassVar[str] = "detection/part.html.jinja"
    columns: ClassVar[tuple[str, ...]] = (
        "recall_1", "recall_5", "auroc", "above_mahalanobis_auroc", "above_forest_auroc", "false_alarms_1"
    )  # fmt: skip
    important: ClassVar[tuple[str, ...]] = ("auroc", "above_*")
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = RANGES

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """Whether an image is of a class that is not normal, (N,)."""
        return ~np.isin(self.labels, [k for k, name in enumerate(self.classes) if name in self.normal])

    @property
    def estimates(self) -> dict[str, Estimate]:
        return self.found

    @property
    def headlines(self) -> dict[str, str]:
        words = {"auroc": "AUC, anomalous against normal"}
        words |= {f"recall_{percent(rate)}": f"recall at {percent(rate)} % false alarms" for rate in FALSE_ALARMS}
        words["ap"] = "average precision"
        for method, told in METHODS.items():
            words[f"{method}_auroc"] = f"AUC of trivial features, {told}"
        words |= {
            f"above_{method}_auroc": f"AUC above the {told} of trivial features" for method, told in METHODS.items()
        }
        words |= {
            f"false_alarms_{percent(rate)}": f"normal images with p below {percent(rate)} %" for rate in FALSE_ALARMS
        }
        return {name: told for name, told in words.items() if name in self.found}

    @property
    def of_each(self) -> dict[str, NDArray[Any]]:
        return {
            "scores": self.scores,
            "p_values": self.p_values,
            "labels": self.labels,
            "anomalous": self.anomalous.astype(np.uint8),
        }

    @classmethod
    def weighed(cls, of_each: Mapping[str, NDArray[Any]]) -> WeightedMetrics:
        return weighted_detection(of_each["scores"], of_each["anomalous"].astype(bool), FALSE_ALARMS)

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        plain = [{k: as_json(v) if isinstance(v, Estimate) else v for k, v in row.items()} for row in self.curves]
        return {"curves": plain} if plain else {}

    def summary(self) -> str:
        return sentences.summary(self)

    def agreement(self, first: DetectionEvaluation) -> str:
        return sentences.agreement(first, self)

    def drawn(self) -> dict[str, Any]:
        counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        both = self.anomalous.any() and not self.anomalous.all()
        return {
            "counts": dict(zip(self.classes, counts, strict=True)),
            "colours": colours(self.classes),
            "features": FEATURES,
            "methods": METHODS,
            "roc": svg_uri(figures.roc(self)) if both else None,
            "histogram": svg_uri(figures.histogram(self)),
            "curves": svg_uri(figures.curves(self)) if self.curves else None,
            "extremes": png_uri(figures.pictured(self.extremes)) if self.extremes else None,
            "oddities": png_uri(figures.pictured(self.oddities)) if self.oddities else None,
            "promises": sentences.promises(self),
            "nuisances": sentences.nuisances(self),
            "where": sentences.where(self),
            "leaks": sentences.leaks(self),
        }


class DetectionGathering(Gathering):
    """Gathers scores, p-values and what is known of the images; keeps a few of these, and normal ones for oddities."""

    evaluation: ClassVar[type[Evaluation]] = DetectionEvaluation
    fields: ClassVar[tuple[str, ...]] = ("score", "p_value", "sigmas")

    def __init__(self, run: Run, name: str, seed: int):
        super().__init__(run, name, seed)
        self.classes: tuple[str, ...] = ()
        self.kept: dict[str, list[Tensor]] = {"score": [], "p_value": [], "labels": [], "features": []}
        self.known: list[dict[str, Array]] = []
        self.extremes, self.where = Extremes(), Where()
        self.normal_images: list[LensBatch] = []
        self.preset: Preset | None = None

    def check(self, batch: LensBatch) -> None:
        if batch.labels is None:
            raise InputError(f"evaluation {self.name!r}: the images have no labels; to score unknown ones, use detect")
        if self.classes and self.classes != tuple(batch.classes):
            raise InputError(f"evaluation {self.name!r}: the images are not all of the same classes")
        self.classes = tuple(batch.classes)

    def take(self, prediction: Any, batch: LensBatch, seen: LensBatch) -> None:
        assert batch.labels is not None
        labels = batch.labels.cpu()
        normal = torch.tensor([self.classes[k] in self.run.classes for k in labels.tolist()], dtype=torch.bool)
        physical = self.run.transform.inverse(seen)
        features = trivial_features(physical).cpu()
        for name, values in zip(self.kept, (prediction.score, prediction.p_value, labels, features), strict=True):
            self.kept[name].append(values.detach().cpu())
        self.known.append(numbers_of(batch, features))
        self.extremes.take(physical, prediction.score, prediction.sigmas, ~normal)
        self.where.take(prediction.sigmas, batch, seen, ~normal)
        self._keep_normal(batch, normal)

    def conclude(self, **common: Any) -> DetectionEvaluation:
        kept = {name: torch.cat(tensors) for name, tensors in self.kept.items()}
        scores, p_values = (kept[name].double().numpy() for name in ("score", "p_value"))
        labels, classes, seed = kept["labels"].numpy(), self.classes, self.seed
        normal = tuple(name for name in classes if name in self.run.classes)
        anomalous = ~np.isin(labels, [classes.index(name) for name in normal])
        known = {
            name: np.concatenate([found[name] for found in self.known])
            for name in self.known[0]
            if all(name in found for found in self.known)
        }
        found = found_in(scores, p_values, labels, classes, normal, seed)
        thresholds = self._thresholds()
        trivial, reason = self._trivial(kept["features"])
        if trivial is not None and anomalous.any() and not anomalous.all():
            found |= above_trivial(scores, trivial.scores, anomalous, seed)
        found |= kept_promises(p_values, anomalous, self._calibrated, seed)
        if "box plot" in thresholds:
            found |= box_plotted(scores, anomalous, thresholds["box plot"])
        found |= nuisances(scores[~anomalous], {name: values[~anomalous] for name, values in known.items()})
        found |= self.where.estimates(seed)
        odd, pictures, lacking = self._oddities(scores[~anomalous])
        return DetectionEvaluation(
            **common,
            classes=classes,
            normal=normal,
            labels=labels,
            scores=scores,
            p_values=p_values,
            found=found | odd,
            curves=curves(scores, labels, classes, normal, known),
            thresholds=thresholds,
            calibration=self._calibrated,
            trivial=trivial,
            no_trivial=reason,
            extremes=self.extremes.pictured(),
            oddities=pictures,
            no_oddities=lacking,
        )

    @property
    def _calibrated(self) -> int | None:
        """How many calibration scores the task has, if it says so."""
        return len(self.run.task.calibration) or None if isinstance(self.run.task, Detector) else None

    def _thresholds(self) -> dict[str, float]:
        """Those that the task knows of, whatever its class."""
        task: Any = self.run.task
        found = {}
        if isinstance(task, Detector):
            for rate in FALSE_ALARMS:
                try:
                    found[f"{percent(rate)} % false alarms"] = float(task.threshold(rate))
                except InputError:  # too few calibration scores for that rate
                    continue
        box_plot = getattr(task, "box_plot", None) if self._calibrated else None
        return found | ({"box plot": float(box_plot)} if isinstance(box_plot, float) else {})

    def _trivial(self, features: Tensor) -> tuple[TrivialScores | None, str]:
        """What trivial features say; or why nothing could be fitted."""
        try:
            return trivial_of(self.run, seed=self.seed)(features), ""
        except InputError as error:
            return None, str(error)

    def _keep_normal(self, batch: LensBatch, normal: Tensor) -> None:
        """Keep the first normal images, with all that was drawn."""
        room = ODD - sum(map(len, self.normal_images))
        rows = normal.nonzero()[:room, 0]
        if room > 0 and len(rows):
            self.normal_images.append(batch[rows].to("cpu"))
            self.preset = self._simulated_by(batch)

    def _simulated_by(self, batch: LensBatch) -> Preset | None:
        """The preset that the images are of, as their names say it."""
        first = batch.ids[0] if batch.ids else ""
        data: Any = self.run.config.data
        if data.folder is None and first.startswith(f"{PRESETS.get(data.preset).name}/"):
            return data.simulated
        return next((PRESETS.get(name) for name in PRESETS if first.startswith(f"{name}/")), None)

    def _oddities(self, normal: Array) -> tuple[dict[str, Estimate], Pictured | None, dict[str, str]]:
        """Numbers of the panel, pictures of it, and what could not be tried."""
        if not self.normal_images:
            return {}, None, {}
        data: Any = self.run.config.data
        galaxies = getattr(data, "lenses", None) or getattr(data, "sources", None)
        lenses = Normals(LensBatch.collate(self.normal_images), self.preset)
        made, lacking = panel(lenses, seed=self.seed, galaxies=galaxies)
        found: dict[str, Estimate] = {}
        pictures = Extremes()
        for name, batch in made.items():
            scores, first = self._scored(batch)
            found |= oddity(name, scores, normal, self.seed)
            pictures.add(name, *first)
        return found, pictures.pictured(), lacking

    def _scored(self, batch: LensBatch) -> tuple[Array, tuple[LensBatch, Tensor]]:
        """Scores (N,) of other images, and the first few as the network sees them, with their maps."""
        device = next(self.run.task.parameters()).device
        scores, first = [], None
        for start in range(0, len(batch), AT_ONCE):
            seen = self.run.transform(batch[start : start + AT_ONCE].to(device))
            prediction: Any = self.run.task.predict(seen)
            scores.append(prediction.score.cpu().double())
            if first is None:
                few = self.run.transform.inverse(seen[:SHOWN])
                first = few.to("cpu"), prediction.sigmas[:SHOWN].cpu()
        assert first is not None
        return torch.cat(scores).numpy(), first
