"""Pages that are generated say what the library says."""

from __future__ import annotations

from pathlib import Path

import labels
from catalogue import catalogue
from quote import simulator

from arcformer.models import BACKBONES

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_models_is_what_the_registry_says() -> None:
    page = (DOCS / "models.md").read_text()
    assert page == catalogue(), "write it again: python benchmarks/quote.py models"
    assert all(f"\n## `{name}`\n" in page for name in BACKBONES)
    assert "arxiv.org/abs/2010.11929" in page
    assert "| `registers` | int | 0 | number of extra tokens" in page


def test_the_tables_of_the_simulator_are_what_results_have() -> None:
    page = (DOCS / "simulator.md").read_text()
    assert page == simulator(page), "write it again: python benchmarks/quote.py simulator"
    assert "| `corrected/model-1` | no_sub, cdm | ." in page


def test_the_table_of_labels_is_what_results_have() -> None:
    page = (DOCS / "pretraining.md").read_text()
    assert page == labels.page(page), "write it again: python benchmarks/labels.py"
    assert (DOCS / "images" / "label-efficiency.png").stat().st_size > 10_000
