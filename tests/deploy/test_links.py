"""Links between the repository's pages lead to a file, and to a heading if they name one."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.nodes import REPOSITORY

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"\bdocs/[\w/.-]*\.(?:md|json|png)\b")


def pages() -> list[Path]:
    words = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
    listed = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return sorted(path for name in listed.stdout.split() if (path := REPOSITORY / name).exists())


def broken(page: Path) -> list[str]:
    return [
        target
        for target in LINK.findall(FENCE.sub("", page.read_text()))
        if "://" not in target and not target.startswith("mailto:") and not leads(page, target)
    ]


def leads(page: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    file = page.parent / path if path else page
    if not heading or file.suffix != ".md":
        return file.exists()
    return file.exists() and heading in anchors(file)


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


def test_every_link_leads_somewhere() -> None:
    found = {str(page.relative_to(REPOSITORY)): broken(page) for page in pages()}
    assert len(found) > 40
    assert {name: links for name, links in found.items() if links} == {}


def test_every_page_of_docs_is_on_the_map() -> None:
    """`docs/README.md` lists each page, or the index of a folder that does."""
    reached, waiting = set(), [REPOSITORY / "docs/README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        waiting += [page.parent / link.partition("#")[0] for link in LINK.findall(page.read_text())]
    missing = {page.resolve() for page in (REPOSITORY / "docs").rglob("*.md")} - reached
    assert sorted(str(page.relative_to(REPOSITORY)) for page in missing) == []


def test_paths_named_in_code_and_settings_exist() -> None:
    words = ("git", "ls-files", "--", "*.py", "*.yml", "*.yaml", "*.toml", "*.json", "Makefile")
    listed = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    missing = {
        (name, path)
        for name in listed.stdout.split()
        if (REPOSITORY / name).exists()
        for path in PATH.findall((REPOSITORY / name).read_text())
        if not (REPOSITORY / path).exists()
    }
    assert missing == set()


@pytest.mark.parametrize("target", ["nowhere.md", "page.md#no-such-heading", "#no-such-heading"])
def test_a_broken_link_is_found(tmp_path: Path, target: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A heading, here\n\n[ok](#a-heading-here) [ok](page.md) [bad]({target})\n")
    assert broken(page) == [target]
