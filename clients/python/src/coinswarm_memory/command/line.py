"""The commands and their options."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from coinswarm_memory import Agent, Memory
from coinswarm_memory._sync.memory import DEFAULT_URL
from coinswarm_memory.command import export as exporting
from coinswarm_memory.command import following
from coinswarm_memory.command.printing import print_estimate, print_json, print_recall
from coinswarm_memory.command.state import state_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Ask a Coinswarm Memory service from a terminal. The key is read from MEMORY_API_KEY.",
)

AgentName = Annotated[str, typer.Argument(metavar="AGENT", help="Whose memory.")]
Url = Annotated[str, typer.Option("--url", envvar="COINSWARM_URL", help="The service's address.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object.")]
StateFile = Annotated[
    Path | None,
    typer.Option("--state", help="A .npy file, a JSON array or base64 of float32; - is the input."),
]
Like = Annotated[str | None, typer.Option("--like", help="The state of this experience.")]
Products = Annotated[list[str] | None, typer.Option("--product", help="May be repeated.")]
Regimes = Annotated[list[str] | None, typer.Option("--regime", help="May be repeated.")]
ActionNames = Annotated[list[str] | None, typer.Option("--action", help="May be repeated.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Ask as it was known then: ISO 8601, or a date (UTC).")
]
Whose = Annotated[Literal["own", "others", "all"], typer.Option("--scope", help="Whose memories.")]
Metric = Annotated[
    str | None, typer.Option("--metric", help="Go by a learned distance: its id, or promoted.")
]
Patience = Annotated[
    float, typer.Option("--timeout", min=0.01, help="Seconds for each call, retries included.")
]
Neighbours = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many moments.")]


@app.command()
def recall(
    agent: AgentName,
    *,
    state: StateFile = None,
    like: Like = None,
    k: Neighbours = 10,
    product: Products = None,
    regime: Regimes = None,
    action: ActionNames = None,
    as_of: AsOf = None,
    scope: Whose = "own",
    metric: Metric = None,
    url: Url = DEFAULT_URL,
    timeout_s: Patience = 5.0,
    as_json: AsJson = False,
) -> None:
    """Find the moments most similar to a state."""
    conditions = _given(product=product, regime=regime, action=action, metric=metric)
    with _agent(url, timeout_s, agent, as_of) as me:
        answer = me.recall(state_of(me, state, like), k=k, scope=scope, **conditions)
    (print_json if as_json else print_recall)(answer)


@app.command()
def estimate(
    agent: AgentName,
    *,
    state: StateFile = None,
    like: Like = None,
    k: Neighbours = 50,
    product: Products = None,
    regime: Regimes = None,
    action: ActionNames = None,
    as_of: AsOf = None,
    scope: Whose = "own",
    metric: Metric = None,
    url: Url = DEFAULT_URL,
    timeout_s: Patience = 5.0,
    as_json: AsJson = False,
) -> None:
    """Say what came of each action in the moments most similar to a state."""
    conditions = _given(product=product, regime=regime, action=action, metric=metric)
    with _agent(url, timeout_s, agent, as_of) as me:
        answer = me.estimate(state_of(me, state, like), k=k, scope=scope, **conditions)
    if as_json:
        print_json({**_fields(answer), "actions": answer.actions.ranked})
    else:
        print_estimate(answer)


@app.command()
def export(
    agent: AgentName,
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="A file, .parquet or else NDJSON. Unset: NDJSON, printed."),
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="ISO 8601, or a date.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="ISO 8601, or a date.")] = None,
    product: Products = None,
    regime: Regimes = None,
    action: ActionNames = None,
    as_of: AsOf = None,
    url: Url = DEFAULT_URL,
    timeout_s: Patience = 5.0,
) -> None:
    """Write an agent's experiences, oldest first.

    `remember_many` reads the NDJSON. In Parquet, metadata is JSON text.
    """
    conditions = _given(product=product, regime=regime, action=action, since=since, until=until)
    with _agent(url, timeout_s, agent, as_of) as me:
        count = exporting.write(me, to, conditions)
    Console(stderr=True).print(f"{count:,} experiences exported")


@app.command()
def tail(
    agent: AgentName,
    *,
    count: Annotated[
        int | None, typer.Option("-n", min=1, help="Stop after this many changes.")
    ] = None,
    url: Url = DEFAULT_URL,
    timeout_s: Patience = 5.0,
    as_json: AsJson = False,
) -> None:
    """Print an agent's experiences as they are stored, closed, rated or deleted."""
    with _agent(url, timeout_s, agent, None) as me:
        for line in islice(following.lines(me, as_json=as_json), count):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def _given(**conditions: Any) -> dict[str, Any]:
    return {name: value for name, value in conditions.items() if value}


def _fields(answer: Any) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in answer.__struct_fields__}


@contextmanager
def _agent(url: str, timeout_s: float, name: str, as_of: str | None) -> Iterator[Agent]:
    with Memory(url, timeout_s=timeout_s) as memory:
        yield (memory if as_of is None else memory.at(as_of)).agent(name)
