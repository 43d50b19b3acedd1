"""`groups`: shows the groups of Redis, changes their list, and asks for moves of agents."""

import argparse
import asyncio

from app.commands.command import DONE, Command
from app.commands.output import counted, say
from app.connect import connected_shards
from app.errors import ConfigurationError
from app.moves.operations import MoveOperations, Rearranged, summary
from app.nodes.groups.membership import remove, set_weight
from app.nodes.groups.placement import GroupShards
from app.nodes.shard import Shards
from app.settings import Settings, load_settings

DESCRIPTION = """Show the groups of MEMORY_GROUPS, change their list, and move agents between them.

status           each group with its agents, and the moves in progress; so without a word
add NAME         let a new group of MEMORY_GROUPS join; new agents are placed there from then on. A
                 group that is part already gets its weight in MEMORY_GROUPS: that ends a drain
add NAME --empty take an empty Redis in place of one whose data is lost: the memories of its agents
                 are gone for good, and they begin empty
drain NAME       move all agents of a group to the others, and place none there; once it is empty,
                 the same command takes it off the list
rebalance        move the fewest agents after which each group has its share

A running service makes the moves, one agent after the other; the agents work on meanwhile."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = ["status", "add", "drain", "rebalance"]
    parser.add_argument("action", nargs="?", choices=actions, default="status")
    parser.add_argument("group", nargs="?", help="the group's name, for add and drain")
    parser.add_argument("--empty", action="store_true", help="with add: its data is lost for good")


def _run(arguments: argparse.Namespace) -> int:
    needs_name = arguments.action in {"add", "drain"}
    if needs_name != (arguments.group is not None):
        wanted = "needs the" if needs_name else "takes no"
        raise ConfigurationError(f"`groups {arguments.action}` {wanted} name of a group.")
    if arguments.empty and arguments.action != "add":
        raise ConfigurationError("`--empty` belongs to `groups add`.")
    told = carry_out(
        arguments.action, arguments.group, load_settings(), takes_empty=arguments.empty
    )
    say(asyncio.run(told))
    return DONE


async def carry_out(
    action: str, group: str | None, settings: Settings, *, takes_empty: bool = False
) -> str:
    """Do what the command's words say. Return what to print. Raise StartError or StorageError."""
    adding = group if action == "add" else None
    async with connected_shards(settings, adding=adding, takes_empty=takes_empty) as shards:
        if not isinstance(shards, GroupShards):
            raise ConfigurationError(
                "This memory has one group: name several in MEMORY_GROUPS "
                "(docs/reference/groups.md)."
            )
        operations = MoveOperations(shards)
        told = ""
        if action == "add":
            told = (
                f"Group {group} is part of this memory, and new agents are placed there. Start "
                "every service again whose MEMORY_GROUPS lacks it, then rebalance.\n"
            )
        elif action == "drain" and group is not None:
            told = await _drain(group, shards, operations)
        elif action == "rebalance":
            told = _asked_for(await operations.rebalance())
        return told + summary(*await operations.status())


async def _drain(group: str, shards: GroupShards, operations: MoveOperations) -> str:
    _require_drainable(group, shards)
    home = shards.home.master.client
    shards.set_weights((await set_weight(home, group, 0.0)).weights)
    wanted = await operations.drain(group)
    states, _ = await operations.status()
    state = next(state for state in states if state.name == group)
    if state.agents or state.arriving or state.leaving:
        return _asked_for(wanted)
    shard = shards.group(group)
    await remove(group, home, shard.master.client if shard.has_master else None)
    told = f"Group {group} is empty and off the list: take it out of MEMORY_GROUPS everywhere.\n"
    if shard.has_master:
        return told
    return f"{told}Its Redis does not answer: empty it before you use it again.\n"


def _asked_for(wanted: Rearranged) -> str:
    told = f"{counted(len(wanted.moves), 'move')} asked for.\n"
    if not wanted.full:
        return told
    return (
        f"{told}Full, so no agent moves there: {', '.join(sorted(wanted.full))}. Raise maxmemory "
        "there, or prune memories.\n"
    )


def _require_drainable(group: str, shards: Shards) -> None:
    names = [shard.name for shard in shards]
    if group not in names:
        raise ConfigurationError(f"There is no group {group}: {', '.join(names)}.")
    if group == shards.home.name:
        raise ConfigurationError(
            f"Group {group} is the home, which has the concepts and API keys: it cannot be drained."
        )


COMMAND = Command(
    "groups", "show the groups of Redis, and move agents", _run, _add_arguments, DESCRIPTION
)
