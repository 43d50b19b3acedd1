"""A report: sections of text, tables and figures, written as Markdown and as one HTML page."""

import base64
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; every row has as many as `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row has another number of cells than there are columns")


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot: its file name without folder, its PNG, and what it shows."""

    name: str
    png: bytes
    caption: str

    @property
    def data_url(self) -> str:
        """The picture itself as an address, so that the HTML page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, in order."""

    title: str
    parts: tuple["str | Table | Figure", ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A title, a first paragraph and sections."""

    title: str
    lead: str
    sections: tuple[Section, ...] = field(default=())


def write_report(report: Report, folder: Path) -> None:
    """Write `report.md` with its pictures beside it, and `report.html`, which holds everything."""
    write_markdown(report, folder / "report.md")
    (folder / "report.html").write_text(html(report), "utf-8")


def write_markdown(report: Report, page: Path) -> None:
    """Write the report as Markdown with its pictures beside it."""
    page.parent.mkdir(parents=True, exist_ok=True)
    for figure in _figures(report):
        (page.parent / figure.name).write_bytes(figure.png)
    page.write_text(markdown(report), "utf-8")


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    lines = [f"# {report.title}", "", report.lead, ""]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        for part in section.parts:
            lines += [*_markdown_part(part), ""]
    return "\n".join(lines)


def plain(report: Report) -> str:
    """Return the report as a terminal shows it best: without markup, tables in columns."""
    lines = [report.title, "=" * len(report.title), "", *_wrapped(report.lead), ""]
    for section in report.sections:
        lines += [section.title, "-" * len(section.title), ""]
        for part in section.parts:
            lines += [*_plain_part(part), ""]
    return "\n".join(lines)


def html(report: Report) -> str:
    """Return the report as one page."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.tests["table"] = lambda part: isinstance(part, Table)
    environment.tests["figure"] = lambda part: isinstance(part, Figure)
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(report=report)


def markdown_table(table: Table) -> list[str]:
    """Return the lines of a table; figures are aligned right."""
    numeric = [_is_numeric([row[i] for row in table.rows]) for i in range(len(table.columns))]
    lines = [
        _markdown_row(table.columns),
        _markdown_row(["---:" if is_number else "---" for is_number in numeric]),
    ]
    return lines + [_markdown_row(row) for row in table.rows]


def _figures(report: Report) -> list[Figure]:
    return [p for section in report.sections for p in section.parts if isinstance(p, Figure)]


def _markdown_part(part: str | Table | Figure) -> list[str]:
    match part:
        case str():
            return [part]
        case Table():
            return markdown_table(part)
        case Figure():
            return [f"![{part.caption}]({part.name})"]


def _plain_part(part: str | Table | Figure) -> list[str]:
    match part:
        case str():
            return _wrapped(part)
        case Table():
            return _plain_table(part)
        case Figure():
            return [f"[{part.name}: {part.caption}]"]


def _plain_table(table: Table) -> list[str]:
    rows = [[_without_markup(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    numeric = [_is_numeric([row[i] for row in table.rows]) for i in range(len(table.columns))]
    rows.insert(1, ["-" * width for width in widths])
    return [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _wrapped(text: str) -> list[str]:
    return [
        line
        for paragraph in _without_markup(text).splitlines()
        for line in textwrap.wrap(paragraph, 100) or [""]
    ]


def _without_markup(text: str) -> str:
    """Remove the marks for links, code and weight."""
    return re.sub(r"[`*]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in {"", "-"}]
    return bool(filled) and all(cell[:1].isdigit() for cell in filled)
