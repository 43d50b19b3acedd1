"""A short run of the study whose long run stands in docs/reference/security.md."""

from pathlib import Path

import pytest

from app.auth.caller import Principal
from app.settings import Settings
from bench.studies import agent_isolation
from bench.studies.agent_isolation import (
    OPEN_ROUTES,
    ROUTES,
    RoutesLeftOut,
    Tally,
    ask_all,
    two_agents,
)
from tests.auth.keyed_service import keyed_service, with_keys


async def run(settings: Settings, folder: Path, requests: int, **update: object) -> Tally:
    tally = Tally()
    configured = with_keys(settings, folder, slowlog_slower_than_us=0, **update)
    async with keyed_service(configured) as service:
        agents = await two_agents(service.store)
        while (await service.anonymous.get("/v1/stats", headers=agents[1].headers)).is_error:
            pass
        await ask_all(str(service.anonymous.base_url), agents, requests, 7, tally)
    return tally


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_no_answer_carries_what_is_the_others(
    settings: Settings, tmp_path: Path, layout: str
) -> None:
    tally = await run(settings, tmp_path, 800, layout=layout)
    assert not tally.leaks
    assert tally.reaching > 150
    asked = {route for route, _ in tally.answers}
    assert asked == {f"{method} {path}" for method, path in [*ROUTES, *OPEN_ROUTES]}


async def test_the_run_finds_a_leak(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Principal, "may_touch", lambda *_: True)
    assert (await run(settings, tmp_path, 60)).leaks


async def test_a_route_that_nobody_asks_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that was added to the service and not to the study."""
    new = ("POST", "/v1/episodic/forecast")
    monkeypatch.setattr(agent_isolation, "ROUTES", [*ROUTES, new])
    with pytest.raises(RoutesLeftOut, match="/v1/episodic/forecast"):
        await run(settings, tmp_path, 1)
