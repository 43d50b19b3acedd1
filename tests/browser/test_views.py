"""Each view is opened, used and looked at."""

import re
import subprocess

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import violations
from tests.browser.conftest import NARROW, WIDE, OpenPage, photograph
from tests.browser.seed import DAY_S, DECIDER, MOMENTS, START, agent_of, decide, moment_id

AGENT = agent_of("AAPL")
MINUS = "\u2212"
ASKED = f"#/ask?agent={AGENT}&id={moment_id('AAPL', 200)}"

VIEWS = {
    "ask": (ASKED, "Nearest moments"),
    "ask-empty": ("#/ask", "Which moment?"),
    "map": (f"#/map?agent={AGENT}&id={moment_id('AAPL', 10)}", "All 240 memories."),
    "swarm": ("#/swarm", "Mean reward by regime"),
    "live": ("#/live", "connected"),
    "patterns": ("#/patterns?id=concept-0", "Members nearest to its centre"),
    "health": ("#/health", "every part is ok"),
    "runbook": ("#/runbook?page=master-failure", "The Redis master is gone"),
    "actions": ("#/actions", "Prune by the rules"),
}


HARD_TO_TOUCH = """() => [
    ...document.querySelectorAll(".brand, .nav a, td a, button, select, input, summary, label"),
].filter((one) => {
    const target = one.type === "checkbox" ? one.closest("label") : one;
    const { left, right, width, height } = target.getBoundingClientRect();
    const isTarget = one.localName !== "label" || one.querySelector("[type=checkbox]");
    const isInSight = target.closest(".table-frame") || (left >= 0 && right <= innerWidth);
    return height && isTarget && (width < 40 || height < 40 || !isInSight);
}).map((one) => one.outerHTML.slice(0, 120))"""
"""What is smaller than a fingertip, or out of sight."""


@pytest.mark.parametrize("name", VIEWS)
def test_view_is_whole_on_wide_and_narrow_screens(open_page: OpenPage, name: str) -> None:
    link, shown = VIEWS[name]
    for size, scheme in ((WIDE, "light"), (NARROW, "dark")):
        page = open_page(link, size=size, scheme=scheme)
        expect(page.get_by_text(shown).first).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)
        photograph(page, f"{name}-{size[0]}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        if size == NARROW:
            assert page.evaluate(HARD_TO_TOUCH) == []
        assert violations(page) == []
        page.close()


def neighbours(page: Page) -> list[str]:
    table = page.get_by_role("table", name="Nearest moments")
    expect(table).to_be_visible()
    expect(page.locator(".stale")).to_have_count(0)
    return table.locator("tbody tr").all_inner_texts()


def test_ask_about_a_moment_and_move_through_time(open_page: OpenPage) -> None:
    page = open_page(f"#/ask?agent={AGENT}")
    page.get_by_label("Up to", exact=True).fill("2020-05-01")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="2020-05-01").click()
    expect(page.get_by_role("heading", name="AAPL on 2020-05-01")).to_be_visible()
    then = neighbours(page)
    slider = page.get_by_role("slider", name="As of")
    assert slider.get_attribute("aria-valuetext") == "2020-05-01"
    page.get_by_role("button", name="Now", exact=True).click()
    expect(slider).to_have_attribute("aria-valuetext", "now")
    now = neighbours(page)
    assert len(now) < 50  # moments of one product that overlap count once
    assert now != then
    page.get_by_label("Count overlapping moments of a product once").uncheck()
    rows = page.get_by_role("table", name="Nearest moments").locator("tbody tr")
    expect(rows).to_have_count(50)
    assert now[0].startswith("0.0000")  # the moment itself: its outcome is known by now
    slider.press("ArrowLeft")
    expect(slider).not_to_have_attribute("aria-valuetext", "now")
    assert "as_of=" in page.url


def test_a_link_shows_a_colleague_the_same(open_page: OpenPage) -> None:
    link = f"{ASKED}&scope=all&k=20&regime=sideways&as_of={START + 220 * DAY_S}"
    first = neighbours(open_page(link))
    page = open_page(link)
    assert neighbours(page) == first
    assert len(first) == 20
    assert page.get_by_label("Memories of").input_value() == "all"
    page.get_by_role("button", name="Reward").click()
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("13\u201324 of 80")).to_be_visible()
    again = open_page(page.url.partition("/console/")[2])
    assert neighbours(again) == neighbours(page) != first
    moments = again.get_by_role("list", name="Moments")
    expect(moments.get_by_role("link")).to_have_count(12)
    again.get_by_role("button", name="Newer").click()
    expect(again.get_by_text("1\u201312 of 80")).to_be_visible()


def test_a_neighbour_is_asked_from(open_page: OpenPage) -> None:
    page = open_page(f"{ASKED}&scope=all")
    table = page.get_by_role("table", name="Nearest moments")
    expect(table).to_be_visible()
    name = table.get_by_role("link").first.get_attribute("title")
    assert name is not None
    table.get_by_role("link").first.click()
    expect(page.get_by_text(f"/ {name.removeprefix('Ask from ')}")).to_be_visible()


def test_the_shown_curl_gets_the_shown_answer(open_page: OpenPage) -> None:
    page = open_page(f"{ASKED}&regime=sideways")
    code = page.locator("pre[aria-label=curl]").inner_text()
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    value = httpx.Response(200, text=done.stdout).json()["actions"][0]["value"]
    shown = page.get_by_role("table", name="Value by action").locator("tbody tr").first
    expect(shown).to_contain_text(f"{value:+.4f}".replace("-", MINUS))


def test_the_shown_python_is_python(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.get_by_role("button", name="Python", exact=True).click()
    compile(page.locator("pre[aria-label=Python]").inner_text(), "console", "exec")


def test_the_same_question_over_the_years(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.get_by_text("The same question over the years").click()
    expect(page.get_by_role("img", name="Value of each action")).to_be_visible()
    expect(page.locator(".time-chart canvas")).to_be_visible()


def test_a_pasted_vector_is_asked_about(open_page: OpenPage, api: httpx.Client) -> None:
    memory = api.get(f"/v1/episodic/{AGENT}/{moment_id('AAPL', 30)}").json()
    page = open_page(f"#/ask?agent={AGENT}")
    page.get_by_role("button", name="Vector", exact=True).click()
    field = page.get_by_label("256 numbers, or base64 of float32")
    field.fill("1, 2, nonsense")
    page.get_by_role("button", name="Ask about this state").click()
    expect(page.get_by_role("alert")).to_have_text("Number 3 is not finite: nonsense.")
    field.fill("1 2 3")
    page.get_by_role("button", name="Ask about this state").click()
    expect(page.get_by_role("alert")).to_have_text("The service takes 256 numbers, this has 3.")
    field.fill(str(memory["state_vector"]))
    page.get_by_role("button", name="Ask about this state").click()
    assert neighbours(page)[0].startswith("0.0000")
    assert neighbours(open_page(page.url.partition("/console/")[2])) == neighbours(page)


def test_the_map_is_hovered_clicked_lassoed_and_linked(open_page: OpenPage) -> None:
    page = open_page(f"#/map?agent={AGENT}")
    canvas = page.locator(".plot canvas")
    expect(canvas).to_have_attribute(
        "aria-label", re.compile(f"^Map of {AGENT}: {MOMENTS} moments.")
    )
    box = canvas.bounding_box()
    assert box is not None
    x, y, width, height = box["x"], box["y"], box["width"], box["height"]
    canvas.press("Enter")
    expect(page.get_by_role("region", name="Chosen moment")).to_be_visible()
    circle = page.locator(".plot-over circle.chosen")
    page.mouse.move(
        x + float(circle.get_attribute("cx") or 0), y + float(circle.get_attribute("cy") or 0)
    )
    expect(page.locator(".tip")).to_contain_text("AAPL")
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(x + width * 0.2, y + height * 0.05)
    page.mouse.down()
    for across, down in ((0.8, 0.05), (0.8, 0.95), (0.2, 0.95), (0.2, 0.1)):
        page.mouse.move(x + width * across, y + height * down, steps=4)
    page.mouse.up()
    selection = page.get_by_role("region", name="Selected moments")
    expect(selection).to_contain_text("selected moments")
    text = selection.get_by_role("heading").inner_text()
    assert 100 < int(text.split()[0]) <= MOMENTS
    photograph(page, "map-lasso")
    again = open_page(page.url.partition("/console/")[2])
    expect(again.get_by_role("heading", name=text)).to_be_visible()
    page.get_by_label("Regime", exact=True).select_option("sideways")
    expect(selection.get_by_role("heading")).not_to_have_text(text)


def test_what_happens_shows_as_it_happens(open_page: OpenPage, api: httpx.Client) -> None:
    page = open_page("#/live")
    expect(page.get_by_text("connected")).to_be_visible()
    table = page.get_by_role("table", name="Events")
    memory = api.get(f"/v1/episodic/{AGENT}/{moment_id('AAPL', 30)}").json()
    ask = {"agent_id": AGENT, "state_vector": memory["state_vector"], "scope": "all"}
    while not table.get_by_text("of all agents").count():  # until the service knows who watches
        api.post("/v1/episodic/search", json=ask).raise_for_status()
        page.wait_for_timeout(500)
    outcome = f"/v1/episodic/{AGENT}/{moment_id('AAPL', MOMENTS - 1)}/outcome"
    api.post(outcome, json={"reward": 0.02}).raise_for_status()
    expect(table).to_contain_text("recall")
    expect(table).to_contain_text("10 found, nearest 0.000, of all agents")
    expect(table).to_contain_text("outcome")
    expect(table).to_contain_text("+0.0200")


def test_the_swarm_shows_growth_and_who_asks_whom(open_page: OpenPage, api: httpx.Client) -> None:
    page = open_page("#/swarm")
    growth = page.get_by_role("region", name="Growth")
    growth.get_by_role("button", name="Moment").click()
    expect(growth).to_contain_text("by the moment that they are about")
    chart = growth.get_by_role("img")
    expect(chart).to_have_attribute("aria-label", re.compile("2020-01-01 to 2020-08-27"))
    memory = api.get(f"/v1/episodic/{AGENT}/{moment_id('AAPL', 30)}").json()
    asker = agent_of("BTC-USD")  # no other test lets it ask
    ask = {"agent_id": asker, "state_vector": memory["state_vector"], "scope": "others"}
    asks = page.get_by_role("region", name="Who asks whom")
    batch = {"searches": [ask, ask]}
    while not asks.get_by_role("img").count():  # the chart needs a step of six seconds that is over
        api.post("/v1/episodic/search/batch", json=batch).raise_for_status()
        page.wait_for_timeout(1000)
    expect(asks.get_by_role("table")).to_contain_text(re.compile("[02468] recalls"))
    expect(asks.get_by_role("img")).to_be_visible()


def test_the_swarm_shows_what_the_memory_adds(open_page: OpenPage, api: httpx.Client) -> None:
    page = open_page("#/swarm")
    uplift = page.get_by_role("region", name="Uplift")
    expect(uplift).to_contain_text("No decision has been closed yet")
    decide(api)
    page.reload()
    agents = uplift.get_by_role("table", name="Uplift by agent")
    expect(agents).to_contain_text("150 of 150 due")
    told = api.get("/v1/uplift", params={"agent_id": DECIDER}).json()["comparisons"]
    assert [one["verdict"] for one in told] == ["helps", "unproven"]
    for one in told:
        shown = " … ".join(f"{one[end]:+.4f}".replace("-", MINUS) for end in ("low", "high"))
        expect(agents).to_contain_text(shown)
    agents.get_by_role("link", name=DECIDER).click()
    expect(uplift.get_by_role("table", name="Uplift by regime")).to_contain_text("sideways")
    expect(uplift.get_by_role("table", name="Uplift by product")).to_contain_text("75 of 75 due")
    expect(uplift.get_by_role("table", name="Uplift by product")).to_contain_text("too few")
    photograph(page, "swarm-uplift")
    assert violations(page) == []


def test_a_verdict_is_asked_for_and_linked(open_page: OpenPage, api: httpx.Client) -> None:
    page = open_page("#/swarm")
    card = page.get_by_role("region", name="Verdict")
    expect(card).to_contain_text("No verdict was asked for")
    card.get_by_label("Whose memories are asked").fill(AGENT)
    card.get_by_label("Whose memories answer").select_option("all")
    card.get_by_role("button", name="Ask for a verdict").click()
    table = card.get_by_role("table", name="Memory and placebos")
    expect(table).to_be_visible()
    named = page.url.partition("evaluation=")[2].partition("&")[0]
    result = api.get(f"/v1/evaluate/{named}").json()["result"]
    assert result["questions"] >= 20
    effect = f"{result['findings'][0]['effect']:+.4f}".replace("-", MINUS)
    for shown in (page, open_page(page.url.partition("/console/")[2])):
        card = shown.get_by_role("region", name="Verdict")
        expect(card.get_by_role("status")).to_contain_text(result["verdict"])
        expect(card.get_by_role("table")).to_contain_text(effect)
        expect(card).to_contain_text("Answered byall")
    photograph(page, "swarm-verdict")
    assert violations(page) == []
    gone = open_page(f"#/swarm?evaluation={'0' * 32}")
    expect(gone.get_by_role("alert")).to_contain_text("There is no evaluation")
    few = open_page(f"#/swarm?judged={DECIDER}")
    few.get_by_role("button", name="Ask for a verdict").click()
    expect(few.get_by_text("too few for a verdict")).to_be_visible()


def test_patterns_lead_to_their_members(open_page: OpenPage) -> None:
    page = open_page("#/patterns")
    page.get_by_role("link", name="concept-0").click()
    expect(page.get_by_text("Why: 120 memories are enough.")).to_be_visible()
    page.get_by_role("link", name=moment_id("KO", 3)).click()
    expect(page.get_by_role("heading", name="KO on 2020-01-04")).to_be_visible()


def test_health_leads_to_runbooks(open_page: OpenPage) -> None:
    page = open_page("#/health")
    page.get_by_role("link", name="slow-queries").first.click()
    expect(page.locator("article h1")).to_be_visible()
    assert page.locator("article").inner_text().count("<!--") == 0


def test_an_error_is_shown_in_its_own_sentence(open_page: OpenPage) -> None:
    page = open_page(f"#/ask?agent={AGENT}&id=nothing")
    expect(page.get_by_role("alert")).to_contain_text(f"Agent {AGENT} has no memory nothing")
    expect(page.get_by_role("alert")).to_contain_text("memory_not_found · 404")


def test_keys_of_the_keyboard(open_page: OpenPage) -> None:
    page = open_page("#/ask")
    expect(page.get_by_text("Which moment?")).to_be_visible()
    page.keyboard.press("3")
    expect(page.get_by_role("heading", name="Swarm")).to_be_visible()
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert violations(page) == []
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page.get_by_role("heading", name="Swarm")).to_be_visible()


def test_times_in_utc_and_local(open_page: OpenPage) -> None:
    page = open_page(ASKED, timezone_id="Asia/Tokyo")
    facts = page.get_by_role("region", name="The moment asked about")
    expect(facts).to_contain_text("2020-07-19 00:00 UTC")
    page.get_by_role("button", name="Times are UTC: switch").click()
    expect(facts).to_contain_text("2020-07-19 09:00 UTC+09:00")


def test_an_admin_counts_before_deleting(open_page: OpenPage, api: httpx.Client) -> None:
    page = open_page("#/actions")
    card = page.get_by_role("region", name="Delete memories")
    card.get_by_label("Agent").fill(agent_of("KO"))
    card.get_by_label("Regime").fill("sideways")
    card.get_by_label("Regime").press("Enter")
    delete = card.get_by_role("button", name="Delete them")
    expect(delete).to_be_disabled()
    card.get_by_role("button", name="Count first").click()
    expect(card.get_by_text("Would be done: 80 match, 0 deleted.")).to_be_visible()
    delete.click()
    expect(card.get_by_text("Done: 80 match, 80 deleted.")).to_be_visible()
    left = api.post("/v1/episodic/query", json={"agent_id": agent_of("KO"), "regime": "sideways"})
    assert left.json()["total"] == 0
