"""`export`: writes the memory to a file."""

import argparse
import asyncio
import time
from pathlib import Path

from app.commands.command import CONTINUES, DONE, Command
from app.commands.output import complain, counted, say
from app.commands.progress import Progress
from app.connect import connected_memory
from app.settings import Settings, load_settings
from app.storage.index_info import refused_hashes
from app.transfer.export_memory import Exporter, ExportReport
from app.transfer.read_memory import ConceptRevisions, HashWalk

DESCRIPTION = """Write the whole memory, or one agent's experiences, to a file.

The file's suffix sets the format: .ndjson (one JSON object per line; .ndjson.gz is compressed) or
.parquet (needs the extra `parquet`). Vectors are exported bit for bit. The service may keep
running: the file holds every memory that existed at the start and was not deleted meanwhile, and
the earlier revisions of concepts that are kept. After Ctrl-C the same command continues where it
stopped."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the file to write")
    parser.add_argument("--agent", metavar="NAME", help="only this agent's experiences")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _run(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    report, refused = asyncio.run(_export(arguments, load_settings()))
    say(summary(report, arguments.file, seconds=time.monotonic() - started))
    if refused:
        complain(
            f"The indexes rejected {refused} hashes, which are not in the file: see "
            "`./memory check`.\n"
        )
    return DONE


async def _export(arguments: argparse.Namespace, settings: Settings) -> tuple[ExportReport, int]:
    async with connected_memory(settings) as memory:
        walk = HashWalk(memory.shards, memory.indexes, timeout_ms=settings.search_timeout_ms)
        with Progress() as progress:
            exporter = Exporter(
                walk,
                ConceptRevisions(memory.shards, memory.indexes.stored_as),
                memory.indexes,
                dimension=settings.dimension,
                on_progress=progress.show,
            )
            report = await exporter.export(
                arguments.file, agent_id=arguments.agent, overwrite=arguments.overwrite
            )
        return report, await refused_hashes(memory.shards)


def summary(report: ExportReport, path: Path, *, seconds: float) -> str:
    """Return what was written, in a line or two."""
    tally = report.tally
    resumed = f" ({report.resumed_from:,} by an earlier run)" if report.resumed_from else ""
    return (
        f"Exported {counted(tally.memories, 'memory')}{resumed}: {tally.episodic:,} episodic, "
        f"{tally.semantic:,} semantic, in {seconds:.1f} s.\n"
        f"{former_text(tally.semantic_former)}"
        f"{path}: {path.stat().st_size:,} bytes, read back and counted.\n"
    )


def former_text(count: int) -> str:
    """Return a line on the concepts' earlier revisions; empty if there are none."""
    return f"Earlier revisions of concepts, for as_of: {count:,}.\n" if count else ""


COMMAND = Command(
    "export", "write the memory to a file", _run, _add_arguments, DESCRIPTION, CONTINUES
)
