"""Each command of the runbooks is tried on real nodes, or its page says that it is not."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.nodes import REPOSITORY
from tests.deploy.scene import Scene
from tests.deploy.transcript import PageError, Step, scenes

PAGES = sorted((REPOSITORY / "docs/runbooks").glob("*.md"))
EXPECTED = {
    "background-job",
    "breaker-open",
    "change-dimension",
    "change-vector-type",
    "disk-full",
    "groups",
    "index-failures",
    "low-recall",
    "memory-harms",
    "master-failure",
    "out-of-memory",
    "replica-resync",
    "restore",
    "rolling-upgrade",
    "service-down",
    "shared-to-per-agent",
    "slow-queries",
}
SCENES = [
    pytest.param(steps, id=f"{page.parent.name}-{page.stem}-{number}")
    for page in (*PAGES, REPOSITORY / "redis/README.md")
    for number, steps in enumerate(scenes(page), start=1)
]


@pytest.mark.parametrize("steps", SCENES)
def test_the_commands_do_what_the_page_says(steps: list[Step], tmp_path: Path) -> None:
    with ExitStack() as stack:
        Scene(tmp_path, stack).run(steps)


def test_every_page_is_there_and_listed() -> None:
    assert {page.stem for page in PAGES} == EXPECTED | {"README"}
    index = (REPOSITORY / "docs/runbooks/README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == EXPECTED


def test_links_between_pages_lead_somewhere() -> None:
    for page in (*PAGES, REPOSITORY / "redis/README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```bash\ndocker ps\n```", "does not say so"),
        ("```\nREPLICAOF NO ONE\n```", "unknown fence"),
        ("<!-- test: scene -->\n```redis\nredis-master> PING\n```", "no answer shown"),
        ("```redis\nredis-master> PING\nPONG\n```", "before the first scene"),
    ],
)
def test_an_unmarked_command_is_found(tmp_path: Path, text: str, problem: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PageError, match=problem):
        scenes(page)


def test_a_wrong_answer_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- test: scene -->\n```redis\nredis-master> CONFIG GET save\nsave\n900\n```")
    (steps,) = scenes(page)
    with ExitStack() as stack, pytest.raises(AssertionError, match="CONFIG GET save"):
        Scene(tmp_path, stack).run(steps)
