"""Puts the tables and plots of a report into docs/benchmarks/README.md, over the older ones."""

import re
import shutil
from pathlib import Path

from bench.paths import BENCHMARKS, REPOSITORY

PAGE = BENCHMARKS / "README.md"
PLOTS = BENCHMARKS / "plots"

_SECTIONS = {
    "Load test": ("Targets", "Phase 1", "Phase 2", "Phase 3", "Loading and memory"),
    "Scale study": ("Where they cross", "One partition", "Through the service"),
}
_MACHINE = "Machine and versions"
_IMAGE = re.compile(r"!\[(.*?)\]\((.*?)\)")


class CannotPublish(Exception):
    """The report or the page has another form; the message says what is missing."""


def publish(folder: Path, page: Path = PAGE, plots: Path = PLOTS) -> None:
    """Refresh the page's block for the kind of report in `folder`. Raises CannotPublish, OSError.

    A block stands between `<!-- KIND -->` and `<!-- end of KIND -->`.
    """
    title, lead, sections = _read(folder / "report.md")
    kind = title.partition(",")[0]
    wanted = _SECTIONS.get(kind)
    if wanted is None:
        raise CannotPublish(f"{folder}: a report titled {title!r} has no place on {page.name}.")
    machine = sections.get(_MACHINE, "").rpartition("\n\n|")[0]
    lines = [f"**{title}.** {lead}", machine, _whole_report(folder)]
    for name, text in sections.items():
        if name.startswith(wanted):
            lines += [f"### {name}", text]
    block = _IMAGE.sub(lambda found: _kept_plot(found, folder, page, plots), "\n\n".join(lines))
    page.write_text(_with_block(page.read_text("utf-8"), kind, block, page), "utf-8")


def _read(report: Path) -> tuple[str, str, dict[str, str]]:
    """Return the title, the first paragraph, and sections by heading."""
    head, *rest = re.split(r"^## ", report.read_text("utf-8"), flags=re.MULTILINE)
    title, _, lead = head.partition("\n")
    sections = {}
    for section in rest:
        name, _, text = section.partition("\n")
        sections[name.strip()] = text.strip()
    return title.removeprefix("# ").strip(), lead.strip(), sections


def _whole_report(folder: Path) -> str:
    if not folder.resolve().is_relative_to(REPOSITORY):
        return f"The whole report: `{folder.name}`."
    path = folder.resolve().relative_to(REPOSITORY).as_posix()
    return f"The whole report: [{path}](../../{path}/report.md)."


def _kept_plot(found: re.Match[str], folder: Path, page: Path, plots: Path) -> str:
    """Copy the picture beside the page, because results come and go."""
    plots.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / found[2], plots / found[2])
    return f"![{found[1]}]({plots.relative_to(page.parent).as_posix()}/{found[2]})"


def _with_block(text: str, kind: str, block: str, page: Path) -> str:
    begin, end = f"<!-- {kind} -->", f"<!-- end of {kind} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise CannotPublish(f"{page} has no lines {begin} and {end}.")
    return f"{before}{begin}\n{block}\n{end}{after}"
