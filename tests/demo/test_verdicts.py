"""The demo's verdicts, in small, against the service."""

import re

from app.settings import Settings
from demo.filling import store
from demo.market import DIMENSION, market_windows
from demo.verdicts import compare, honest, markets
from tests.conftest import running_service
from tests.demo.bar import Bar
from tests.demo.synthetic import random_market


async def test_memory_helps_where_all_matters_and_a_learned_distance_where_few_do(
    settings: Settings,
) -> None:
    async with running_service(settings.model_copy(update={"dimension": 32})) as client:
        every, few, none = markets(32, days=600)
        assert "planted_all: helps" in (await compare(client, every))[0]
        _, learned = await compare(client, few)
        assert "matter: helps" in learned
        gain = float(learned.split(", ")[-1].split()[0])
        assert gain > 0
        numbers = learned.partition("[")[2].partition("]")[0].split(", ")
        assert {int(number) for number in numbers[:2]} <= set(range(4))
        assert (await compare(client, none))[-1] == "planted_none: nothing is learned"


async def test_stocks_are_judged_by_their_own_past_by_all_and_by_size(settings: Settings) -> None:
    stocks = market_windows(random_market(days=1300, products=2))
    async with running_service(settings.model_copy(update={"dimension": DIMENSION})) as client:
        report, _ = await store(client, stocks, batch=1000, in_flight=2, bar=Bar())
        assert report.confirmed == len(stocks)
        told = [line async for line in honest(client, stocks, ["P-0"])]
        assert [line.partition(":")[0] for line in told] == [
            "P-0, reward",
            "P-0, reward, all stocks",
            "P-0, size",
        ]
        for line in told:
            found = re.search(r": (?:helps|harms|unproven) \(.*, (\d+) questions\)$", line)
            assert found is not None, line
            assert int(found[1]) >= 20
        left = (await client.get("/v1/agents")).json()["agents"]
        assert [agent["agent_id"] for agent in left] == ["agent_P-0", "agent_P-1"]
