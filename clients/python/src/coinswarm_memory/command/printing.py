"""Answers as tables for people and as JSON for programs."""

import sys
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coinswarm_memory.answers import ActionEstimate, Estimate, Experience, Hit, Recall
from coinswarm_memory.encode.times import shown


def plain(text: str) -> str:
    """Return text that cannot steer a terminal: control characters are written as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def print_json(answer: object) -> None:
    """Write one JSON object and a line end to the output."""
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


def print_recall(answer: Recall) -> None:
    """Print a table of the moments found, nearest first."""
    table = Table("distance", "when", "product", "regime", "action", "reward", "id")
    for hit in answer:
        table.add_row(*_cells([f"{hit.distance:.4f}", *_moment(hit)]))
    kind = "exact" if answer.exact else "approximate"
    part = ", part of the memory could not be searched" if answer.partial else ""
    _print(table, f"{len(answer)} found, {kind}{part}, {answer.took_ms:.2f} ms")


def print_estimate(answer: Estimate) -> None:
    """Print a table of the actions, best first."""
    table = Table("action", "value", "stdev", "5 %", "95 %", "wins", "support", "moments")
    for action in answer.actions:
        table.add_row(*_cells(_action(action)))
    said = f"novelty {_number(answer.novelty)}, confidence {_number(answer.confidence)}"
    _print(table, f"{said}, {answer.took_ms:.2f} ms")


def line_of(experience: Experience) -> str:
    """Return one experience as one line."""
    return plain("  ".join(_moment(experience)))


def _moment(experience: Experience | Hit) -> list[str]:
    reward = "open" if experience.reward is None else f"{experience.reward:+.4g}"
    when = shown(experience.timestamp)
    action = experience.action or ""
    return [when, experience.product, experience.regime, action, reward, experience.id]


def _action(found: ActionEstimate) -> list[str]:
    numbers = [found.value, found.stdev, found.q05, found.q95]
    wins = "" if found.win_rate is None else f"{found.win_rate:.0%}"
    support = f"{found.effective_n:.1f}"
    return [found.action or "", *map(_number, numbers), wins, support, str(found.count)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.4g}"


def _cells(values: Iterable[str]) -> list[Text]:
    return [Text(plain(value)) for value in values]


def _print(table: Table, summary: str) -> None:
    console = Console()
    console.print(table)
    console.print(Text(summary))
