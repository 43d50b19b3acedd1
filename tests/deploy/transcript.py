"""The runbooks' commands, read out of their pages.

A page is a sequence of scenes; each starts on a fresh deployment. What a scene does is in fences:

    ```redis          a session: `NODE> COMMAND`, then the lines of its answer (redis-cli --raw)
    ```bash tried     a session: `$ COMMAND`, then the lines of its output
    ```bash           commands that no test runs; the first line says so
    ```yaml, ```text  no commands

and in comments that readers do not see: `<!-- test: scene -->` begins a scene, any other
`<!-- test: WORDS -->` is something that happens to the deployment. `...` in an answer stands for
anything.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

NOT_TRIED = "# Not tried by a test"
QUIET_FENCES = {"yaml", "text"}


@dataclass
class Step:
    """A command (`where` is a node, or `$` for the shell) or an event (`where` is `test`)."""

    where: str
    words: str
    expected: list[str] = field(default_factory=list)

    def matches(self, answer: str) -> bool:
        """Whether the answer is what the page shows."""
        parts = [re.escape(part) for part in "\n".join(self.expected).split("...")]
        return re.fullmatch(".*?".join(parts), answer.strip(), re.DOTALL) is not None


class PageError(Exception):
    """A page that breaks the rules above."""


def scenes(page: Path) -> list[list[Step]]:
    """The scenes of a page. Raises PageError for a command that nothing marks."""
    found: list[list[Step]] = []
    lines = iter(page.read_text().splitlines())
    for line in lines:
        event = re.fullmatch(r"<!-- test: (.*) -->", line.strip())
        if event and event[1] == "scene":
            found.append([])
        elif event:
            _current(found, page).append(Step("test", event[1]))
        elif line.startswith("```"):
            block = []
            for inner in lines:
                if inner.startswith("```"):
                    break
                block.append(inner)
            steps = _steps(line[3:].strip(), block, page)
            if steps:
                _current(found, page).extend(steps)
    return found


def _current(found: list[list[Step]], page: Path) -> list[Step]:
    if not found:
        raise PageError(f"{page.name}: a step before the first scene")
    return found[-1]


def _steps(kind: str, block: list[str], page: Path) -> list[Step]:
    if kind in QUIET_FENCES:
        return []
    if kind == "bash":
        if not block or not block[0].startswith(NOT_TRIED):
            raise PageError(f"{page.name}: an untried block that does not say so: {block[:1]}")
        return []
    if kind not in {"redis", "bash tried"}:
        raise PageError(f"{page.name}: unknown fence {kind!r}")
    prompt = r"(\$) (.+)" if kind == "bash tried" else r"([a-z0-9-]+)> (.+)"
    steps: list[Step] = []
    for line in block:
        command = re.fullmatch(prompt, line)
        if command:
            steps.append(Step(command[1], command[2]))
        elif steps:
            steps[-1].expected.append(line)
        else:
            raise PageError(f"{page.name}: an answer without a command: {line!r}")
    silent = [step.words for step in steps if not step.expected]
    if silent and kind == "redis":
        raise PageError(f"{page.name}: no answer shown for {silent}")
    return steps
