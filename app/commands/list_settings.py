"""`settings`: prints every setting, by section, first those that operators touch."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from pydantic_core import PydanticUndefined

from app.commands.command import DONE, Command
from app.commands.output import say
from app.settings import ENV_PREFIX, Settings

MIN_TEXT_WIDTH = 30
FOR_OPERATORS = "Settings that operators touch"
FOR_EXPERTS = "Expert settings: change one only if a measurement calls for it"
DATA_FOLDER = "(user data folder)"


SECTIONS = {
    "host": "HTTP",
    "auth": "Access",
    "limit_key_requests_per_s": "Limits; a key may have its own",
    "dimension": "Memory",
    "feed_entries": "Change feed",
    "access_flush_interval_s": "Counters of semantic searches",
    "retention_interval_s": "Retention",
    "consolidation_interval_s": "Consolidation",
    "redis_url": "Redis",
    "replica_urls": "Replicas",
    "durability": "Durability",
    "default_deadline_ms": "Read path",
    "arm_no_memory_share": "Decisions",
    "recall_sample_share": "Recall of approximate answers",
    "metrics_max_agents": "Metrics",
    "data_dir": "Embedded Redis",
}
"""The first setting of each section, with the section's title."""

OPERATED = {
    *("host", "port", "workers", "allowed_hosts", "log_level", "api_keys_file", "audit_file"),
    *("limit_key_requests_per_s", "limit_agent_memories", "dimension", "vector_type"),
    *("require_as_of", "retention_interval_s", "consolidation_interval_s", "redis_url"),
    *("sentinel_urls", "replica_urls", "durability", "data_dir", "embedded_topology"),
    *("embedded_replicas", "embedded_maxmemory_bytes", "groups", "embedded_groups"),
    *("arm_no_memory_share", "arm_placebo_share"),
}
"""Settings that operators touch. The others are for experts: their defaults were measured."""


class _Row(NamedTuple):
    name: str
    default: str
    text: str


def _run(arguments: argparse.Namespace) -> int:
    if arguments.markdown:
        say(settings_markdown())
    else:
        say(settings_table(shutil.get_terminal_size().columns))
    return DONE


def settings_table(width: int) -> str:
    """Return name, default and description of each setting, in lines of at most `width` characters.

    The description gets at least MIN_TEXT_WIDTH, on narrower terminals too.
    """
    parts = list(_parts())
    rows = [row for _, sections in parts for section in sections.values() for row in section]
    name_width = max(len(row.name) for row in rows)
    default_width = max(len(row.default) for row in rows)
    text_width = max(MIN_TEXT_WIDTH, width - name_width - default_width - 4)

    def lines_of(row: _Row) -> Iterator[str]:
        first, *others = textwrap.wrap(row.text, text_width) or [""]
        yield f"{row.name:{name_width}}  {row.default:{default_width}}  {first}"
        yield from (f"{'':{name_width}}  {'':{default_width}}  {other}" for other in others)

    lines = [*lines_of(_Row("Setting", "Default", "Meaning"))]
    for title, sections in parts:
        lines += ["", title, "=" * len(title)]
        for section, rows in sections.items():
            lines += ["", section, *(line for row in rows for line in lines_of(row))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def settings_markdown() -> str:
    """Return the tables of docs/reference/settings.md."""
    lines = []
    for title, sections in _parts():
        lines += [f"## {title}", ""]
        for section, rows in sections.items():
            lines += [f"### {section}", "", "| setting | default | what it does |"]
            lines += ["| --- | --- | --- |"]
            lines += [f"| `{row.name}` | {_cell(row)} | {row.text} |" for row in rows]
            lines += [""]
    return "\n".join(lines[:-1]) + "\n"


def _cell(row: _Row) -> str:
    if row.name == f"{ENV_PREFIX}DATA_DIR":
        return DATA_FOLDER
    return row.default if row.default.startswith("(") else f"`{row.default}`"


def _parts() -> Iterator[tuple[str, dict[str, list[_Row]]]]:
    for title, is_operated in ((FOR_OPERATORS, True), (FOR_EXPERTS, False)):
        sections: dict[str, list[_Row]] = {}
        section = ""
        for name, field in Settings.model_fields.items():
            section = SECTIONS.get(name, section)
            if (name in OPERATED) is is_operated:
                default = field.get_default(call_default_factory=True, validated_data={})
                shown = "" if default is None or default is PydanticUndefined else str(default)
                row = _Row(
                    f"{ENV_PREFIX}{name.upper()}", shown or "(unset)", field.description or ""
                )
                sections.setdefault(section, []).append(row)
        yield title, sections


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables of docs/reference/settings.md"
    )


COMMAND = Command(
    "settings",
    "list every setting with its default",
    _run,
    _add_arguments,
    description="Settings are read from the environment and from .env; the environment wins.",
)
