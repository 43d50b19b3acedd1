"""`import`: stores an exported file's memories."""

import argparse
import asyncio
import time
from pathlib import Path

from app.auth.audit import audit_of_command
from app.commands.command import CONTINUES, DONE, FAILED, Command
from app.commands.output import complain, counted, say
from app.commands.progress import Progress
from app.connect import connected_memory
from app.settings import Settings, load_settings
from app.transfer.import_memory import Importer, ImportReport
from app.transfer.write_memory import MemoryRestorer

DESCRIPTION = """Store the memories of an exported file.

The whole file is checked before anything is written. A memory that already exists stays as it is.
If an id already holds different content, that is a conflict: it is reported and not stored (exit
status 1). After Ctrl-C the same command continues where it stopped."""

SHOWN_CONFLICTS = 20


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the file to read")
    parser.add_argument("--agent", metavar="NAME", help="only this agent's experiences")


def _run(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    report = asyncio.run(_import(arguments, load_settings()))
    say(summary(report, seconds=time.monotonic() - started))
    complain(conflicts_text(report))
    return FAILED if report.conflicts else DONE


async def _import(arguments: argparse.Namespace, settings: Settings) -> ImportReport:
    audit = audit_of_command(settings)
    named = {"file": str(arguments.file), "agent_id": arguments.agent}
    async with connected_memory(settings) as memory, audit.action("import", **named) as outcome:
        restorer = MemoryRestorer(memory.shards, memory.indexes, settings.feed_entries)
        with Progress() as progress:
            importer = Importer(
                restorer, stored_as=memory.indexes.stored_as, on_progress=progress.show
            )
            report = await importer.import_(arguments.file, agent_id=arguments.agent)
        outcome |= {
            "created": report.created,
            "unchanged": report.unchanged,
            "conflicts": len(report.conflicts),
            "former": report.former["created"],
        }
        return report


def summary(report: ImportReport, *, seconds: float) -> str:
    """Return the result of the import, in a line or two."""
    return (
        f"Imported {counted(report.created, 'memory')} in {seconds:.1f} s; already there: "
        f"{report.unchanged:,}; conflicts: {len(report.conflicts):,}.\n"
        f"Counted in Redis: {counted(report.memories, 'id')} of the file.\n{former_text(report)}"
    )


def former_text(report: ImportReport) -> str:
    """Return a line on the concepts' earlier revisions; empty if no concept was ever changed."""
    former = report.former
    if former:
        return (
            f"Earlier revisions of concepts: {former['created']:,} restored, "
            f"{former['unchanged']:,} already there, {former['left_out']:,} skipped (expired, or "
            "the concept here is a different one).\n"
        )
    if report.changed:
        return (
            f"{report.changed:,} concepts had been changed, and the file has none of their earlier "
            "revisions: questions with an earlier as_of will not find them.\n"
        )
    return ""


def conflicts_text(report: ImportReport) -> str:
    """Return a line for each id that holds different content; empty if there are none."""
    lines = [
        f"Conflict: {'semantic memory' if agent_id is None else f'agent {agent_id}:'} {memory_id} "
        "holds different content, which stays."
        for agent_id, memory_id in report.conflicts[:SHOWN_CONFLICTS]
    ]
    if len(report.conflicts) > SHOWN_CONFLICTS:
        lines.append(f"... and {len(report.conflicts) - SHOWN_CONFLICTS:,} more.")
    return "".join(f"{line}\n" for line in lines)


COMMAND = Command(
    "import", "store an exported file's memories", _run, _add_arguments, DESCRIPTION, CONTINUES
)
