"""Whatever people stored shows as text: it is never markup, and never runs."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import OpenPage, opened
from tests.browser.seed import DIMENSION
from tests.kit.service_process import ServiceProcess, service_process

IMAGE = "<img src=x onerror=window.hacked=1>"
SCRIPT = '"><script>window.hacked=1</script>'
LINK = "javascript:window.hacked=1//"
QUOTES = "' onmouseover='window.hacked=1' x=\"` $ & </td>"
STYLE = "</style><style>*{display:none}</style>"

NAMES = ("agent_id", "id", "product_id", "regime", "action")
LONG = "W" * 120

AGENT = f"agent {IMAGE}"
ID = f"id {SCRIPT}"
CONCEPT = f"concept {IMAGE}"


def state(first: float) -> list[float]:
    return [first, *([0.5] * (DIMENSION - 1))]


def memory(number: int, **more: Any) -> dict[str, Any]:
    return {
        "agent_id": AGENT,
        "id": f"{ID}{number}" if number else ID,
        "product_id": f"product {QUOTES}",
        "regime": f"regime {STYLE}",
        "action": f"action {LINK}",
        "timestamp": 1_600_000_000.0 + number,
        "state_vector": state(float(number)),
        "metadata": {IMAGE: SCRIPT, "nested": {STYLE: [LINK, IMAGE]}},
        **more,
    }


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service into which somebody stored what is meant for other people's browsers."""
    with service_process(port=0, data_dir=tmp_path_factory.mktemp("data")) as running:
        with running.client() as client:
            closed = {"reward": 0.5, "outcome_at": 1_600_000_100.0}
            batch = [memory(0), *(memory(n, **closed) for n in range(1, 5))]
            batch.append(memory(5, **closed) | dict.fromkeys(NAMES, LONG))
            stored = client.post("/v1/episodic/batch", json={"memories": batch}).json()
            assert stored["failed"] == 0
            concept = {
                "id": CONCEPT,
                "memory_type": "PATTERN",
                "regime_name": f"regime {STYLE}",
                "concept_vector": state(1.0),
                "sharpe_ratio": 1.0,
                "win_rate": 0.5,
                "metadata": {
                    "status": f"status {IMAGE}",
                    "status_reason": f"reason {SCRIPT}",
                    "agent_id": AGENT,
                    "product_id": LINK,
                    "n": IMAGE,
                    "actions": {IMAGE: {"n": SCRIPT, "mean_reward": LINK}, SCRIPT: IMAGE},
                    "episodes": [{"agent_id": AGENT, "id": ID}, IMAGE, {"id": 1}],
                },
            }
            client.post("/v1/semantic", json=concept).raise_for_status()
        yield running


@pytest.fixture
def open_page(browser: Browser, hostile: ServiceProcess) -> Iterator[OpenPage]:
    with opened(browser, hostile.url) as open_one:
        yield open_one


def quoted(text: str) -> str:
    return str(httpx.QueryParams({"x": text}))[2:]


VIEWS = {
    "ask": (f"#/ask?agent={quoted(AGENT)}&id={quoted(ID)}&as_of=now&scope=all", IMAGE),
    "map": (f"#/map?agent={quoted(AGENT)}&id={quoted(ID)}&colour=regime", STYLE),
    "swarm": ("#/swarm", AGENT),
    "patterns": (f"#/patterns?id={quoted(CONCEPT)}", f"Why: reason {SCRIPT}."),
    "health": ("#/health", IMAGE),
    "actions": ("#/actions", "Prune by the rules"),
    "a view of the link's own": (f"#/{quoted(IMAGE)}?{quoted(SCRIPT)}=1", "There is no view"),
    "filters of the link": (
        f"#/ask?agent={quoted(AGENT)}&id={quoted(ID)}&regime={quoted(IMAGE)}&as_of={quoted(SCRIPT)}",
        AGENT,
    ),
}


def require_harmless(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("main script, main style").count() == 0
    links = page.eval_on_selector_all("a", "all => all.map((a) => a.protocol)")
    assert set(links) <= {"http:"}
    assert page.eval_on_selector_all("*", HANDLERS) == []


HANDLERS = "all => all.flatMap((e) => e.getAttributeNames().filter((n) => n.startsWith('on')))"


@pytest.mark.parametrize("name", VIEWS)
def test_hostile_texts_are_shown_as_text(open_page: OpenPage, name: str) -> None:
    link, shown = VIEWS[name]
    page = open_page(link)
    expect(page.locator("main")).to_contain_text(shown)
    expect(page.locator(".loading")).to_have_count(0)
    page.eval_on_selector_all("details", "all => all.forEach((details) => { details.open = true })")
    page.wait_for_timeout(500)
    require_harmless(page)


def test_hostile_events_are_shown_as_text(open_page: OpenPage, hostile: ServiceProcess) -> None:
    page = open_page("#/live")
    expect(page.get_by_text("connected")).to_be_visible()
    with hostile.client() as client:
        client.post("/v1/episodic", json=memory(9, reward=1.0)).raise_for_status()
    expect(page.get_by_role("table", name="Events")).to_contain_text(f"{ID}9")
    require_harmless(page)


def test_hostile_texts_stay_in_the_shown_command(open_page: OpenPage) -> None:
    page = open_page(VIEWS["ask"][0] + f"&regime={quoted(QUOTES)}")
    code = page.locator("pre[aria-label=curl]").inner_text()
    body = code[code.index("-d '") + 4 : -1].replace("'\\''", "'")
    assert json.loads(body)["regime"] == QUOTES
    assert json.loads(body)["agent_id"] == AGENT
