"""`consolidate`: makes patterns from recent experiences, or reports which ones it would make."""

import argparse
import asyncio
from contextlib import AsyncExitStack

from app.auth.audit import act_as_user
from app.commands.command import CONTINUES, DONE, Command
from app.commands.output import counted, say
from app.contract.parse import parse_item
from app.memory.consolidation.clustering import require_sklearn
from app.memory.consolidation.report import Consolidated, Consolidation
from app.service import start
from app.settings import Settings, load_settings

DESCRIPTION = """Cluster each agent's recent closed experiences by regime, and keep each cluster
as a PATTERN with its statistics. Reports them; writes them with --apply. A second run on the same
memories changes nothing.

A pattern is promoted when it has enough memories and a high enough Sharpe ratio, and deprecated
when that ratio falls or nothing recent is near it (MEMORY_CONSOLIDATION_...). Needs the package
scikit-learn.

Works on the Redis of the settings, also while a service runs on it."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true", help="write instead of only reporting")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--agent", metavar="NAME", help="only this agent's experiences")
    whose.add_argument("--product", metavar="NAME", help="all agents' experiences with a product")
    parser.add_argument("--since", type=float, metavar="UNIX_S", help="earliest timestamp")
    parser.add_argument("--until", type=float, metavar="UNIX_S", help="only what was known then")


def _run(arguments: argparse.Namespace) -> int:
    request = parse_item(
        Consolidation,
        {
            "dry_run": not arguments.apply,
            "agent_id": arguments.agent,
            "product_id": arguments.product,
            "since": arguments.since,
            "until": arguments.until,
        },
    )
    require_sklearn()
    say(summary(asyncio.run(_consolidate(load_settings(), request))))
    return DONE


async def _consolidate(settings: Settings, request: Consolidation) -> Consolidated:
    """Consolidate on the Redis of the settings, without the service's own jobs."""
    act_as_user()
    async with AsyncExitStack() as stack:
        services = await start(settings, stack, purpose="operations")
        return await services.consolidation.run(request)


def summary(report: Consolidated) -> str:
    """Return what was made or would be, with some examples."""
    lines = [
        f"{counted(report.experiences, 'closed experience')} of {counted(report.owners, 'owner')}, "
        f"{report.left_out:,} of them in clusters too small for a pattern.",
        f"Patterns: {report.created:,} new, {report.updated:,} changed, {report.unchanged:,} as "
        f"they were; {report.promoted:,} promoted, {report.deprecated:,} deprecated.",
    ]
    lines += [
        f"  {c.owner} {c.regime_name} {c.id}: {c.change}, {c.status_before or 'new'} -> "
        f"{c.status}: {c.reason}"
        for c in report.sample
    ]
    if report.failed:
        lines.append(f"Skipped because of an error: {report.failed:,} regimes of an owner.")
        lines += [f"  {owner}" for owner in report.failed_owners]
    if report.cut_owners:
        lines.append(f"Only the latest experiences were read of {', '.join(report.cut_owners)}.")
    if report.dry_run:
        lines.append("Nothing was written: repeat with --apply to write it.")
    return "".join(f"{line}\n" for line in lines)


COMMAND = Command(
    "consolidate",
    "make patterns from recent experiences",
    _run,
    _add_arguments,
    DESCRIPTION,
    CONTINUES,
)
