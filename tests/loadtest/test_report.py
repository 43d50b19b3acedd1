import base64
from pathlib import Path

import pytest

from bench.latency import summarise
from bench.plots import Line, distribution_plot, line_plot
from bench.report import Figure, Report, Section, Table, plain, write_report

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def report() -> Report:
    table = Table(("what", "P99 ms"), (("a | b", "1.25"), ("<script>", "12")))
    curves = {"one": summarise([1.0, 2.0, 50.0]).curve_ms}
    figure = Figure("latency.png", distribution_plot("Latency", curves), "How fast")
    return Report("Load test", "PASS", (Section("Phase 1", ("Some text.", table, figure)),))


def test_both_forms_hold_everything(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "new")
    text = (tmp_path / "new" / "report.md").read_text()
    page = (tmp_path / "new" / "report.html").read_text()
    assert "| what | P99 ms |\n| --- | ---: |\n| a \\| b | 1.25 |" in text
    assert "![How fast](latency.png)" in text
    png = (tmp_path / "new" / "latency.png").read_bytes()
    assert png.startswith(PNG)
    assert base64.b64encode(png).decode() in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_the_page_needs_no_other_file(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert 'src="data:image/png;base64,' in page


def test_the_same_figures_give_the_same_plot() -> None:
    line = Line("one", [1, 10, 100], [0.5, 2.5, 15.0])
    pictures = [
        line_plot("P99", [line], x="agents", y="ms", is_x_log=True, is_y_log=True) for _ in range(2)
    ]
    assert pictures[0] == pictures[1]


def test_a_row_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="cells"):
        Table(("a", "b"), (("1",),))


def test_a_terminal_gets_no_markup(report: Report) -> None:
    text = plain(report)
    assert text.splitlines()[:3] == ["Load test", "=========", ""]
    assert "what      P99 ms\n--------  ------\na | b       1.25\n<script>      12" in text
    assert "[latency.png: How fast]" in text
    assert not {"`", "#", "**", "| ---"} & set(text.split())


def test_marks_of_weight_code_and_links_go() -> None:
    report = Report("T", "See **this** `word` in [that page](a/b.md).", ())
    assert "See this word in that page." in plain(report)
