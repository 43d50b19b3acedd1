"""Which groups a memory consists of, written into each group's Redis.

Each group has a mark: the memory that it belongs to, its own name and that of the home group. The
home also has the list of groups with its generation, which grows with every change. So a Redis that
is listed under another group's name, or belongs to another memory, is found before it is used.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from app import keys
from app.errors import ConfigurationError, StartError
from app.nodes.client import Client
from app.nodes.commands import Script, ask_one

_WEIGHT = "weight:"
_JOINED = "joined:"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a group's Redis says about itself; `memory` is the same in all groups of a memory."""

    memory: str
    name: str
    home: str
    generation: int


@dataclass(frozen=True, slots=True)
class GroupList:
    """The groups of a memory with their weights, as the home has them."""

    generation: int
    weights: Mapping[str, float]
    joined: frozenset[str]


@dataclass(frozen=True, slots=True)
class Membership:
    """The home group's name, and the list of groups that it holds."""

    home: str
    listed: GroupList


async def read_mark(node: Client) -> Mark | None:
    """Return the mark of a group's Redis. None if it has none. Raise StorageError."""
    found = await ask_one(node, "HMGET", keys.GROUP, "memory", "name", "home", "generation")
    if found[0] is None:
        return None
    memory, name, home = (value.decode() for value in found[:3])
    return Mark(memory, name, home, int(found[3]))


async def is_group(name: str, node: Client) -> bool:
    """Return whether a Redis has the mark of this group. Raise StorageError."""
    mark = await read_mark(node)
    return mark is not None and mark.name == name


def lost_mark(name: str) -> str:
    """Return the sentence for a group's Redis that has no mark, or another group's."""
    return (
        f"The Redis of group {name} has lost its mark, and perhaps its memories: correct its "
        "address, or restore its data."
    )


async def read_list(home: Client) -> GroupList:
    """Return the list of groups. Raise StorageError."""
    read = await ask_one(home, "HGETALL", keys.GROUPS)
    found = {name.decode(): value.decode() for name, value in read.items()}
    weights = {
        name.removeprefix(_WEIGHT): float(value)
        for name, value in found.items()
        if name.startswith(_WEIGHT)
    }
    joined = frozenset(n.removeprefix(_JOINED) for n in found if n.startswith(_JOINED))
    return GroupList(int(found.get("generation", 0)), weights, joined)


async def require_ungrouped(node: Client) -> None:
    """Refuse one group of several where a whole memory is expected. Raise ConfigurationError."""
    mark = await read_mark(node)
    if mark is not None:
        raise ConfigurationError(
            f"This Redis is group {mark.name} of a memory in several groups: set MEMORY_GROUPS "
            "instead of MEMORY_REDIS_URL or MEMORY_SENTINEL_URLS."
        )


async def join(
    groups: Mapping[str, float],
    masters: Mapping[str, Client],
    *,
    adding: str | None = None,
    takes_empty: bool = False,
) -> Membership:
    """Check that each of these masters is the group that it is listed as, and mark new ones.

    `groups` are the names in MEMORY_GROUPS with their weights; `masters` those that answer now.
    The first group of a new memory becomes its home, and may already hold memories. The group
    `adding` joins a memory that has a list already, or gets its weight again; with `takes_empty`,
    an empty Redis may take the place of the one that it had. Raise ConfigurationError for a wrong,
    missing or exchanged group, StartError if the home or a new group does not answer, or
    StorageError.
    """
    marks = {name: await read_mark(master) for name, master in masters.items()}
    known = {name: mark for name, mark in marks.items() if mark is not None}
    _require_own_names(known, groups)
    home = next(iter(known.values())).home if known else next(iter(groups))
    if home not in groups:
        raise ConfigurationError(
            f"MEMORY_GROUPS lacks group {home}, the home of this memory: add it."
        )
    if home not in masters:
        raise StartError(
            f"Group {home} does not answer, and it holds the list of groups: start it first."
        )
    if known and home not in known:
        raise ConfigurationError(
            f"The Redis listed as {home} is not the home of this memory, because it has no mark of "
            "it: correct its address, or restore its data."
        )
    if not known:
        await _begin(home, groups, masters)
    listed = await read_list(masters[home])
    _require_latest(listed, known)
    if adding is not None and listed.weights.get(adding) != groups[adding]:
        if adding not in listed.weights:
            await _require_empty(adding, _present(adding, masters))
        listed = await set_weight(masters[home], adding, groups[adding])
    if adding is not None and takes_empty and adding not in known:
        await _require_empty(adding, _present(adding, masters))
        await _change(masters[home], "HDEL", f"{_JOINED}{adding}")
        listed = await read_list(masters[home])
    _require_whole(listed, groups)
    memory = (await read_mark(masters[home]) or Mark("", "", "", 0)).memory
    for name, master in masters.items():
        if name in listed.weights and name != home:
            await _join_one(name, master, masters[home], Mark(memory, name, home, 0), listed)
    return Membership(home, listed)


def _require_own_names(known: Mapping[str, Mark], groups: Mapping[str, float]) -> None:
    for name, mark in known.items():
        if mark.name == name:
            continue
        if mark.name in groups:
            raise ConfigurationError(
                f"MEMORY_GROUPS lists the Redis of group {mark.name} as {name}: exchange the "
                "addresses."
            )
        raise ConfigurationError(
            f"The Redis listed as {name} in MEMORY_GROUPS is group {mark.name}: correct its name "
            "or its address."
        )
    memories = {mark.memory for mark in known.values()}
    if len(memories) > 1:
        named = " and ".join(sorted(known))
        raise ConfigurationError(
            f"The groups {named} in MEMORY_GROUPS belong to different memories: correct their "
            "addresses."
        )


async def _begin(home: str, groups: Mapping[str, float], masters: Mapping[str, Client]) -> None:
    """Begin a memory in groups. The home's list and mark are written in one step."""
    absent = [name for name in groups if name not in masters]
    if absent:
        raise StartError(
            f"Group {absent[0]} does not answer, and a new memory needs all of its groups at its "
            "first start: start it."
        )
    for name, master in masters.items():
        if name != home:
            await _require_empty(name, master)
    memory = secrets.token_hex(16)
    pairs = [word for name, weight in groups.items() for word in (f"{_WEIGHT}{name}", weight)]
    words = (memory, home, f"{_JOINED}{home}", 1, *pairs)
    await Script("begin_groups").run(masters[home], (keys.GROUP, keys.GROUPS), words)


def _present(name: str, masters: Mapping[str, Client]) -> Client:
    if name not in masters:
        raise StartError(f"Group {name} does not answer: start its Redis first.")
    return masters[name]


async def set_weight(home: Client, name: str, weight: float) -> GroupList:
    """Set a group's weight in the list, also a new one's. Return the list. Raise StorageError."""
    await _change(home, "HSET", f"{_WEIGHT}{name}", weight)
    return await read_list(home)


async def remove(name: str, home: Client, master: Client | None) -> None:
    """Take a group without agents off the list, and its mark off its Redis unless that is away.

    Raise StorageError.
    """
    await _change(home, "HDEL", f"{_WEIGHT}{name}", f"{_JOINED}{name}")
    if master is not None:
        await ask_one(master, "UNLINK", keys.GROUP, keys.MOVING)


async def _change(home: Client, *words: str | float) -> None:
    """Change the list by this command, count its generation, and let running services see it."""
    await Script("change_groups").run(home, (keys.GROUPS, keys.MOVES_MADE), words)


async def _require_empty(name: str, master: Client) -> None:
    there = await ask_one(master, "EXISTS", keys.AGENTS, keys.SEMANTIC_PARTITION)
    if there:
        raise ConfigurationError(
            f"The Redis of the new group {name} already holds memories: empty it, or export and "
            "import them (only the first group of MEMORY_GROUPS may hold some at the beginning)."
        )


def _require_latest(listed: GroupList, known: Mapping[str, Mark]) -> None:
    for name, mark in known.items():
        if mark.generation > listed.generation:
            raise ConfigurationError(
                f"Group {name} knows generation {mark.generation} of the list of groups, and the "
                f"home only {listed.generation}: the home has lost data, restore it."
            )


def _require_whole(listed: GroupList, groups: Mapping[str, float]) -> None:
    missing = sorted(set(listed.weights) - set(groups))
    if missing:
        raise ConfigurationError(
            f"MEMORY_GROUPS lacks group {missing[0]}, which belongs to this memory: add it "
            "(embedded groups: raise MEMORY_EMBEDDED_GROUPS)."
        )
    unlisted = sorted(set(groups) - set(listed.weights))
    if unlisted:
        raise ConfigurationError(
            f"Group {unlisted[0]} in MEMORY_GROUPS is not part of this memory: take it out, or let "
            f"it join with `./memory groups add {unlisted[0]}`."
        )


async def _join_one(name: str, master: Client, home: Client, mark: Mark, listed: GroupList) -> None:
    """Mark a new group, or record the list's generation in a known one, which may be full."""
    found, wanted = await read_mark(master), replace(mark, generation=listed.generation)
    if found is None:
        if name in listed.joined:
            raise ConfigurationError(lost_mark(name))
        await _require_empty(name, master)
    set_fields = Script("set_fields")
    if found != wanted:
        fields = [word for field in asdict(wanted).items() for word in field]
        await set_fields.run(master, [keys.GROUP], fields)
    if name not in listed.joined:
        await set_fields.run(home, [keys.GROUPS], (f"{_JOINED}{name}", 1))


async def require_member(name: str, master: Client, home: Client) -> None:
    """Check a group that answers again. Raise ConfigurationError or StorageError."""
    mark, own = await read_mark(master), await read_mark(home)
    listed = await read_list(home)
    if own is None:
        raise ConfigurationError("The home of this memory has lost its mark: restore its data.")
    if mark is not None:
        _require_own_names({name: mark, own.name: own}, listed.weights)
    await _join_one(name, master, home, Mark(own.memory, name, own.name, 0), listed)
