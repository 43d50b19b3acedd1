"""`evaluate`: tells whether an agent's memory helps, with a report."""

import argparse
import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import get_args

from app.commands.command import DONE, Command
from app.commands.output import say
from app.commands.progress import Progress
from app.contract.evaluation import Evaluate, EvaluationResult, StatisticName
from app.contract.parse import parse_item
from app.errors import TransferRefused
from app.evaluate.report import html, markdown
from app.model import Scope
from app.service import start
from app.settings import Settings, load_settings

DESCRIPTION = """Ask an agent's closed memories as questions at their own time, and compare what
the memory says with placebos: the same memory, its rewards rotated in time. Prints a report, or
writes it to a file: Markdown, or HTML if its name ends in .html.

Works on the Redis of the settings, also while a service runs on it. Changes nothing there."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT", help="whose memory")
    parser.add_argument(
        "--scope",
        choices=get_args(Scope),
        default="own",
        help="whose memories may answer: the agent's own, the others', or all",
    )
    parser.add_argument("--since", type=float, metavar="UNIX_S", help="earliest timestamp asked")
    parser.add_argument("--until", type=float, metavar="UNIX_S", help="latest timestamp asked")
    parser.add_argument("--as-of", type=float, metavar="UNIX_S", help="only what was known then")
    parser.add_argument("--metric", metavar="ID", help="a learned distance to search by")
    parser.add_argument("--product-id", nargs="+", metavar="NAME", help="only these products")
    parser.add_argument("--regime", nargs="+", metavar="NAME", help="only these regimes")
    parser.add_argument(
        "--scaled", action="store_true", help="rewards in units of each memory's scale"
    )
    parser.add_argument("--kernel", choices=("inverse", "rbf"), default="inverse")
    parser.add_argument("--delta", type=float, default=1e-3, help="of the inverse kernel")
    parser.add_argument("--bandwidth", type=float, default=1.0, help="of the rbf kernel")
    parser.add_argument("--action", metavar="NAME", help="only memories of this action")
    parser.add_argument("--top-k", type=int, default=50, metavar="N", help="neighbours")
    parser.add_argument(
        "--horizon", metavar="NAME", help="of the outcomes; unset: the primary ones"
    )
    parser.add_argument(
        "--distinct",
        choices=("outcome", "none"),
        default="outcome",
        help="outcome: neighbours whose times overlap count once",
    )
    parser.add_argument(
        "--stop-loss", type=float, default=0.0, help="a loss is a reward below minus this"
    )
    parser.add_argument(
        "--statistic",
        choices=get_args(StatisticName),
        default="rank_correlation",
        help="the one that decides; choose it before you look",
    )
    parser.add_argument("--cost", type=float, default=0.0, help="of acting, in units of reward")
    parser.add_argument("--placebos", type=int, default=99, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report here")


def _run(arguments: argparse.Namespace) -> int:
    asked = {n: v for n, v in vars(arguments).items() if n in Evaluate.model_fields}
    request = parse_item(Evaluate, {"agent_id": arguments.agent, **asked})
    result = asyncio.run(_evaluate(load_settings(), request))
    if arguments.output is None:
        say(markdown(request.agent_id, result))
        return DONE
    render = html if arguments.output.suffix == ".html" else markdown
    try:
        arguments.output.write_text(render(request.agent_id, result), "utf-8")
    except OSError as error:
        raise TransferRefused(f"The report cannot be written: {error}.") from error
    say(f"{result.verdict}: see {arguments.output}\n")
    return DONE


async def _evaluate(settings: Settings, request: Evaluate) -> EvaluationResult:
    """Evaluate on the Redis of the settings, without the service's own jobs."""
    async with AsyncExitStack() as stack:
        services = await start(settings, stack, purpose="operations")
        with Progress() as progress:
            evaluator = services.evaluate.evaluator
            metric = await evaluator.metric_of(request)
            return await evaluator.evaluate(
                request, metric, lambda done, total: progress.show("asking", done, total)
            )


COMMAND = Command(
    "evaluate",
    "tell whether an agent's memory helps",
    _run,
    _add_arguments,
    DESCRIPTION,
    "Interrupted: nothing was written.",
)
