"""`retention`: removes what no rule keeps, or reports what it would remove."""

import argparse
import asyncio
import math
from contextlib import AsyncExitStack
from typing import get_args

from app.auth.audit import act_as_user
from app.commands.command import CONTINUES, DONE, Command
from app.commands.output import say
from app.contract.parse import parse_item
from app.contract.retention import Retention, RetentionAnswer
from app.model import AgeBy
from app.service import start
from app.settings import Settings, load_settings

AGE: dict[AgeBy, str] = {"recorded_at": "since they were stored", "timestamp": "by market time"}

DESCRIPTION = """Report which memories the rules would remove, and why; remove them with --apply.

Experiences are judged by age: since they were stored, or by market time with --age-by timestamp. A
concept stays if its Sharpe ratio is above a limit, if enough searches found it in the last 30 days,
or while it is young. Pinned memories always stay. Rules that are not given come from the settings
MEMORY_RETENTION_...

Works on the Redis of the settings, also while a service runs on it."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true", help="remove instead of only reporting")
    parser.add_argument("--agent", metavar="NAME", help="only this agent's experiences")
    parser.add_argument("--episodic-max-age-days", type=float, metavar="DAYS")
    parser.add_argument(
        "--age-by",
        choices=get_args(AgeBy),
        help="which time sets an experience's age: when it was stored, or the market's",
    )
    parser.add_argument("--keep-sharpe-ratio-above", type=float, metavar="RATIO")
    parser.add_argument("--keep-access-count-above", type=int, metavar="COUNT")
    parser.add_argument("--semantic-min-age-days", type=float, metavar="DAYS")


def _run(arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    say(summary(asyncio.run(_by_itself(load_settings(), request))))
    return DONE


def _request(arguments: argparse.Namespace) -> Retention:
    rules = {
        "keep_sharpe_ratio_above": arguments.keep_sharpe_ratio_above,
        "keep_access_count_above": arguments.keep_access_count_above,
        "min_age_days": arguments.semantic_min_age_days,
    }
    return parse_item(
        Retention,
        {
            "dry_run": not arguments.apply,
            "agent_id": arguments.agent,
            "episodic_max_age_days": arguments.episodic_max_age_days,
            "episodic_age_by": arguments.age_by,
            "semantic": rules,
        },
    )


async def _by_itself(settings: Settings, request: Retention) -> RetentionAnswer:
    """Run on the Redis of the settings, without the service's own retention job."""
    act_as_user()
    async with AsyncExitStack() as stack:
        services = await start(settings, stack, purpose="operations")
        return await services.retention.run(request, max_s=math.inf)


def summary(answer: RetentionAnswer) -> str:
    """Return what was removed or would be, with some examples."""
    verb = "would be removed" if answer.dry_run else "removed"

    def number(matched: int, deleted: int) -> str:
        return f"{matched if answer.dry_run else deleted:,} {verb}"

    episodic, semantic = answer.episodic, answer.semantic
    lines = [
        f"Experiences: {number(episodic.matched, episodic.deleted)} (more than "
        f"{episodic.max_age_days:g} days {AGE[episodic.age_by]}); {episodic.kept_pinned:,} as old "
        "stay pinned."
    ]
    lines += [f"  Warning: {warning}" for warning in answer.warnings]
    lines += [f"  {r.agent_id} {r.id}: {r.reason}" for r in episodic.sample]
    lines += [f"  Skipped because of an error: {owner}" for owner in episodic.failed_owners]
    if semantic is not None:
        kept = semantic.kept
        lines.append(
            f"Concepts: {number(semantic.matched, semantic.deleted)}; {kept.pinned:,} stay pinned, "
            f"{kept.sharpe_ratio:,} for their Sharpe ratio, {kept.min_age_days:,} because they are "
            f"young, {kept.access_count:,} because they are found often."
        )
        lines += [f"  {r.id}: {r.reason}" for r in semantic.sample]
    if answer.dry_run:
        lines.append("Nothing was removed: repeat with --apply to remove it.")
    return "".join(f"{line}\n" for line in lines)


COMMAND = Command(
    "retention", "prune by age and rules", _run, _add_arguments, DESCRIPTION, CONTINUES
)
