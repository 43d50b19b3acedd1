"""A report's tables take the place of older ones in docs/benchmarks/README.md."""

from pathlib import Path

import pytest

from bench.publish import PAGE, CannotPublish, publish
from bench.report import Figure, Report, Section, Table, write_report

WORDS = "Kept.\n\n<!-- Scale study -->\nold\n<!-- end of Scale study -->\n\nKept, too.\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "benchmarks.md"
    path.write_text(WORDS)
    return path


def a_report(folder: Path, title: str) -> Path:
    table = Table(("package", "version"), (("redis", "8"),))
    crossing = (Figure("plot.png", b"png", "A plot"), Table(("vectors",), (("1,000",),)))
    sections = (
        Section("Where they cross", crossing),
        Section("What was run", ("`python -m bench scale`",)),
        Section("Machine and versions", ("2 processors.", "Load average: 0.10.", table)),
    )
    write_report(Report(title, "How it grows.", sections), folder)
    return folder


def test_its_block_is_replaced_and_nothing_else(page: Path, tmp_path: Path) -> None:
    folder = a_report(tmp_path / "results", "Scale study, 2026-11-24")
    for _ in range(2):
        publish(folder, page, tmp_path / "plots")
        text = page.read_text()
        assert text.startswith("Kept.\n\n<!-- Scale study -->\n**Scale study, 2026-11-24.** How it")
        assert text.endswith("<!-- end of Scale study -->\n\nKept, too.\n")
    assert "old" not in text
    assert "2 processors.\n\nLoad average: 0.10." in text
    assert "| 1,000 |" in text
    assert "![A plot](plots/plot.png)" in text
    assert (tmp_path / "plots" / "plot.png").read_bytes() == b"png"
    assert "What was run" not in text
    assert "| redis |" not in text


@pytest.mark.parametrize("title", ["Comparison, 2026-11-24", "Another study, 2026-11-24"])
def test_a_report_without_a_place_is_refused(page: Path, tmp_path: Path, title: str) -> None:
    with pytest.raises(CannotPublish):
        publish(a_report(tmp_path / "results", title), page, tmp_path / "plots")
    assert page.read_text() == WORDS


@pytest.mark.parametrize("kind", ["Load test", "Scale study"])
def test_the_page_has_a_place_for_every_kind_of_report(kind: str) -> None:
    text = PAGE.read_text("utf-8")
    assert text.count(f"<!-- {kind} -->") == text.count(f"<!-- end of {kind} -->") == 1
