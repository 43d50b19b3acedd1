"""Client of Coinswarm Memory, the memory of a swarm of trading agents.

    from coinswarm_memory import Memory

    with Memory("http://127.0.0.1:8000") as memory:
        me = memory.agent("agent_1")
        me.remember(state, product="BTC-USD", regime="bull", action="buy", reward=0.012)
        print(me.recall(state, k=5)[0].reward)

`Memory` is for plain functions and threads, `AsyncMemory` has the same names, awaited.
"""

from typing import TYPE_CHECKING, Any

from coinswarm_memory._sync.agent import Agent as Agent
from coinswarm_memory._sync.concepts import Concepts as Concepts
from coinswarm_memory._sync.distances import Distances as Distances
from coinswarm_memory._sync.draw import Draw as Draw
from coinswarm_memory._sync.memory import Memory as Memory
from coinswarm_memory._sync.pages import Pages as Pages
from coinswarm_memory._sync.replica import Replica as Replica
from coinswarm_memory._sync.writer import Writer as Writer
from coinswarm_memory.answers import *  # noqa: F403 - all of them are public
from coinswarm_memory.errors import *  # noqa: F403
from coinswarm_memory.problems import *  # noqa: F403
from coinswarm_memory.version import __version__ as __version__

if TYPE_CHECKING:
    from coinswarm_memory._async.agent import AsyncAgent as AsyncAgent
    from coinswarm_memory._async.concepts import AsyncConcepts as AsyncConcepts
    from coinswarm_memory._async.distances import AsyncDistances as AsyncDistances
    from coinswarm_memory._async.draw import AsyncDraw as AsyncDraw
    from coinswarm_memory._async.memory import AsyncMemory as AsyncMemory
    from coinswarm_memory._async.pages import AsyncPages as AsyncPages
    from coinswarm_memory._async.replica import AsyncReplica as AsyncReplica
    from coinswarm_memory._async.writer import AsyncWriter as AsyncWriter


def __getattr__(name: str) -> Any:
    """Import the asynchronous client when it is first asked for: asyncio takes its time."""
    if not name.startswith("Async"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only for the asynchronous client

    module = f"{__name__}._async.{name.removeprefix('Async').lower()}"
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
