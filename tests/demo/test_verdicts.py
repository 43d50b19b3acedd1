"""The demo's verdicts, in small, against the service."""

from app.settings import Settings
from demo.verdicts import compare, honest, markets
from tests.conftest import running_service


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
        assert await honest(client, ["KO"]) == ["KO: unproven, 0 questions are too few"]
