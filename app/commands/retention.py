"""`retention`: removes what no rule keeps, or reports what it would remove."""

import argparse
import asyncio
import math
import urllib.error
import urllib.request
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError

from app.auth.audit import act_as_user
from app.commands.command import CONTINUES, DONE, Command
from app.commands.output import say
from app.contract.parse import parse_item
from app.contract.retention import Retention, RetentionAnswer
from app.errors import ConfigurationError, MemoryServiceError, StorageUnavailable
from app.model import AgeBy
from app.service import start
from app.settings import Settings, load_settings

HTTP_TIMEOUT_S = 120.0
AGE: dict[AgeBy, str] = {"recorded_at": "since they were stored", "timestamp": "by market time"}

DESCRIPTION = """Report which memories the rules would remove, and why; remove them with --apply.

Experiences are judged by age: since they were stored, or by market time with --age-by timestamp. A
concept stays if its Sharpe ratio is above a limit, if enough searches found it in the last 30 days,
or while it is young. Pinned memories always stay. Rules that are not given come from the settings
MEMORY_RETENTION_...

Works on the Redis of the settings, also while a service runs on it. With --url that service does
the work."""


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
    parser.add_argument("--url", help="a running service, for example http://127.0.0.1:8000")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="file with an admin's API key for --url"
    )


def _run(arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    if arguments.url is not None:
        answer = _by_service(arguments.url, request, _key_in(arguments.key_file))
    else:
        answer = asyncio.run(_by_itself(load_settings(), request))
    say(summary(answer))
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


def _key_in(file: Path | None) -> str | None:
    """Return the API key in this file: other users can see a command's arguments."""
    try:
        return None if file is None else file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"--key-file {file} cannot be read: {error.strerror}.") from error


def _by_service(url: str, request: Retention, key: str | None) -> RetentionAnswer:
    """Call a running service repeatedly until it is done."""
    parts = [_call(url, request, key)]
    while not parts[-1].complete:
        parts.append(_call(url, request, key))
    first = parts[0]
    sums = {
        name: sum(getattr(part.episodic, name) for part in parts)
        for name in ("deleted", "retired", "purged")
    }
    semantic = first.semantic
    if semantic is not None:
        deleted = sum(part.semantic.deleted for part in parts if part.semantic)
        semantic = semantic.model_copy(update={"deleted": deleted})
    return first.model_copy(
        update={"episodic": first.episodic.model_copy(update=sums), "semantic": semantic}
    )


def _call(url: str, request: Retention, key: str | None) -> RetentionAnswer:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError(f"--url must begin with http:// or https://, got {url}.")
    call = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        f"{url.rstrip('/')}/v1/retention",
        data=request.model_dump_json(exclude_none=True).encode(),
        headers={
            "Content-Type": "application/json",
            **({} if key is None else {"Authorization": f"Bearer {key}"}),
        },
    )
    try:
        with urllib.request.urlopen(call, timeout=HTTP_TIMEOUT_S) as reply:  # noqa: S310
            return RetentionAnswer.model_validate_json(reply.read())
    except urllib.error.HTTPError as error:
        raise MemoryServiceError(f"The service refused: {_detail(error)}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise StorageUnavailable(f"No service answers at {url} ({error}): check --url.") from error
    except ValidationError as error:
        raise ConfigurationError(f"Another program answers at {url}: correct --url.") from error


def _detail(error: urllib.error.HTTPError) -> str:
    """Return the sentence of a problem, or the phrase of any other status."""
    try:
        return str(orjson.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return HTTPStatus(error.code).phrase


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
