"""`keys`: creates, lists and revokes API keys."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime

from pydantic import ValidationError

from app.auth.audit import audit_of_command
from app.auth.key_store import FileKeyStore, KeyStore, RedisKeyStore
from app.auth.keys import LIMIT_NAMES, KeyRecord, new_key
from app.commands.command import DONE, Command
from app.commands.output import complain, say
from app.connect import connected_home
from app.contract.parse import from_pydantic
from app.contract.retention import MAX_AGE_DAYS
from app.errors import ConfigurationError, DurabilityNotReached
from app.nodes.addresses import configured_addresses
from app.nodes.writes import Waiting
from app.settings import Settings, load_settings

SECONDS_PER_DAY = 86_400

DESCRIPTION = """Create, list and revoke API keys, in MEMORY_API_KEYS_FILE if that is set, else in
Redis.

A key is shown once, when it is created, alone on the last line of standard output. Only its SHA-256
is stored. Running services apply a change within seconds; from the first key on they require one.
A revocation in Redis waits until replicas have it (MEMORY_DURABILITY_REPLICAS), so that no failover
brings the key back; the exit status is 1 if they did not confirm it.

  keys create --role write --agent agent_1        one agent's own memory
  keys create --role read --agents 'desk-a-*'     the agents whose names match
  keys create --role admin                        everything"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="create a key and print it")
    create.add_argument("--role", choices=["metrics", "read", "write", "admin"], required=True)
    create.add_argument("--agent", action="append", default=[], metavar="NAME", help="this agent")
    create.add_argument(
        "--agents", action="append", default=[], metavar="PATTERN", help="`*` stands for anything"
    )
    create.add_argument(
        "--cross-agent", action="store_true", help="may search with scope others and all"
    )
    create.add_argument(
        "--semantic-write", action="store_true", help="may change the swarm's concepts"
    )
    create.add_argument(
        "--require-as-of", action="store_true", help="questions must send as_of (backtests)"
    )
    create.add_argument("--expires-days", type=float, metavar="DAYS")
    create.add_argument("--note", default="", help="what the key is for")
    for name in LIMIT_NAMES:
        create.add_argument(f"--limit-{name.replace('_', '-')}", type=int, metavar="N", dest=name)
    create.set_defaults(action=_create)
    listing = actions.add_parser("list", help="show all keys, without their secrets")
    listing.set_defaults(action=_list)
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("key", metavar="KEY", help="the key's id, or the key itself")
    revoke.set_defaults(action=_revoke)


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    if settings.auth == "off":
        complain("MEMORY_AUTH is off: services with this setting ask for no key.\n")
    asyncio.run(arguments.action(arguments, settings))
    return DONE


async def _create(arguments: argparse.Namespace, settings: Settings) -> None:
    key, key_id, digest = new_key()
    now = time.time()
    days = arguments.expires_days
    if days is not None and not 0 < days <= MAX_AGE_DAYS:
        raise ConfigurationError(f"--expires-days: must be above 0 and at most {MAX_AGE_DAYS:,}.")
    try:
        record = KeyRecord(
            id=key_id,
            sha256=digest,
            role=arguments.role,
            agents=tuple(arguments.agent),
            agent_patterns=tuple(arguments.agents),
            cross_agent=arguments.cross_agent,
            semantic_write=arguments.semantic_write,
            require_as_of=arguments.require_as_of,
            limits={n: value for n in LIMIT_NAMES if (value := getattr(arguments, n)) is not None},
            note=arguments.note,
            created_at=now,
            expires_at=None if days is None else now + days * SECONDS_PER_DAY,
        )
    except ValidationError as error:
        raise from_pydantic(error) from error
    named = {"target": record.id, "role": record.role, "agents": _agents_of(record)}
    async with (
        _store(settings) as store,
        audit_of_command(settings).action("key_create", **named),
    ):
        await store.write(record)
    say(f"{_line(record)}\n{key}\n")


async def _list(_: argparse.Namespace, settings: Settings) -> None:
    async with _store(settings) as store:
        records = await store.read()
    if not records:
        say("There are no keys.\n")
    for record in sorted(records, key=lambda record: record.created_at):
        say(f"{_line(record)}\n")


async def _revoke(arguments: argparse.Namespace, settings: Settings) -> None:
    given: str = arguments.key
    key_id = given.split("_")[1] if given.startswith("cm_") and given.count("_") > 1 else given
    async with _store(settings) as store:
        found = [record for record in await store.read() if record.id == key_id]
        if not found:
            raise ConfigurationError("There is no such key: `keys list` shows all keys.")
        # Write an earlier revocation again, because a replica may have missed it the first time.
        revoked_at = found[0].revoked_at or time.time()
        revoked = found[0].model_copy(update={"revoked_at": revoked_at})
        async with audit_of_command(settings).action("key_revoke", target=key_id):
            await _write_lasting(store, revoked, settings)
    say(f"Key {key_id} is revoked.\n")


async def _write_lasting(store: KeyStore, revoked: KeyRecord, settings: Settings) -> None:
    """Write the revocation. Raise DurabilityNotReached if a failover could still undo it."""
    cause = None
    try:
        if await store.write_lasting(revoked):
            return
    except DurabilityNotReached as error:
        cause = error
    addresses = configured_addresses(settings)
    parts = () if addresses is None else addresses.parts.values()
    if cause is not None or any(part.has_replicas for part in parts):
        raise DurabilityNotReached(
            f"Key {revoked.id} is revoked, but too few replicas confirmed it "
            "(MEMORY_DURABILITY_REPLICAS), so a failover could bring the key back: run the same "
            "command again."
        ) from cause


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[KeyStore]:
    if settings.api_keys_file is not None:
        yield FileKeyStore(settings.api_keys_file)
    else:
        async with connected_home(settings) as shards:
            yield RedisKeyStore(
                shards,
                Waiting(
                    replicas=settings.durability_replicas,
                    fsynced_replicas=0,
                    timeout_ms=settings.durability_timeout_ms,
                    remaining_s=lambda: None,
                ),
            )


def _line(record: KeyRecord) -> str:
    rights = [
        *(["cross-agent"] if record.cross_agent else []),
        *(["semantic-write"] if record.semantic_write else []),
        *(["require-as-of"] if record.require_as_of else []),
        *(f"{name}={n}" for name, n in asdict(record.limits).items() if n is not None),
    ]
    parts = [
        record.id,
        record.role,
        _agents_of(record),
        *([f"({', '.join(rights)})"] if rights else []),
        f"created {_day(record.created_at)}",
        *([f"expires {_day(record.expires_at)}"] if record.expires_at else []),
        *([f"REVOKED {_day(record.revoked_at)}"] if record.revoked_at else []),
        *([record.note] if record.note else []),
    ]
    return "  ".join(parts)


def _agents_of(record: KeyRecord) -> str:
    patterns = [f"agents like {pattern}" for pattern in record.agent_patterns]
    return ", ".join([*record.agents, *patterns]) or "all agents"


def _day(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError):  # a former release created keys with such times
        return f"{at:g}"


COMMAND = Command("keys", "create, list and revoke API keys", _run, _add_arguments, DESCRIPTION)
