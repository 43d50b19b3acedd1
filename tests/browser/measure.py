"""`make bench-console`: how fast the console opens, and how its largest map moves.

Starts a service of its own, fills it with the demo's 150,000 memories, and opens each view in a
browser whose cache is empty. Then an agent with 100,000 memories is added for the map. With `--url`
a service that is filled already is measured; what was added is deleted afterwards. Prints and
writes docs/benchmarks/console.md, and the guide's pictures with `--pictures`. Takes three minutes.
"""

import argparse
import base64
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.console import STATIC
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS
from tests.browser.chromium import MISSING, find_chromium
from tests.kit.service_process import service_process

AGENT = "console_measured"
MEMORIES = 100_000
BATCH = 1000
DIMENSION = 256
ROUNDS = 7
SHOWN_WITHIN_MS = 30_000
FRESH_WITHIN_MS = 120_000
FIRST_VIEW_MS, SIZE_KB, FRAMES_PER_S = 1000, 400, 30
DRAGS = 90
MOMENT = "#/ask?agent=agent_AAPL&id=AAPL-2020-03-20&scope=all"
MOMENTS, VALUES = "section[aria-label='Nearest moments']", "section[aria-label='Value by action']"
FIRST = "Ask, as it opens"
VIEWS = {
    FIRST: ("", "text=Ask about the latest moment"),
    "Ask all agents: the nearest moments": (MOMENT, MOMENTS),
    "Ask all agents: the value of each action": (MOMENT, VALUES),
    "Map": ("#/map?agent=agent_AAPL", "text=The two axes hold"),
    "Swarm": ("#/swarm", "text=Latest moment"),
    "Health": ("#/health", "text=Background jobs"),
}
FROM_HERE = "(e) => e.tagName === 'SECTION' && e.scrollIntoView()"
PICTURES = {
    "ask": (MOMENT, VALUES),
    "map": ("#/map?agent=agent_AAPL&colour=regime", "text=The two axes hold"),
    "swarm": ("#/swarm", "section[aria-label=Growth]"),
}

FRAMES = """async (moves) => {
  const canvas = document.querySelector(".plot canvas");
  const box = canvas.getBoundingClientRect();
  const at = (x) => ({
    bubbles: true, pointerId: 1, button: 0, clientX: box.left + x, clientY: box.top + 100,
  });
  canvas.setPointerCapture = () => {};
  const times = [];
  canvas.dispatchEvent(new PointerEvent("pointerdown", at(100)));
  for (let i = 0; i < moves; i += 1) {
    canvas.dispatchEvent(new PointerEvent("pointermove", at(100 + (i % 40))));
    times.push(await new Promise(requestAnimationFrame));
  }
  canvas.dispatchEvent(new PointerEvent("pointerup", at(100)));
  return times;
}"""


def fill(client: httpx.Client) -> None:
    """Store the measured agent's memories: a random walk through states."""
    random = np.random.default_rng(5)
    state = random.normal(size=DIMENSION)
    for start in range(0, MEMORIES, BATCH):
        memories = []
        for i in range(start, start + BATCH):
            state = 0.95 * state + 0.31 * random.normal(size=DIMENSION)
            memories.append(
                {
                    "agent_id": AGENT,
                    "id": f"m{i}",
                    "product_id": "BTC-USD",
                    "regime": ("bull", "bear", "sideways")[i // 5000 % 3],
                    "action": ("buy", "sell", "hold")[i % 3],
                    "reward": float(np.tanh(state[0])),
                    "timestamp": 1.4e9 + i * 3600.0,
                    "outcome_at": 1.4e9 + (i + 24) * 3600.0,
                    "state_vector": base64.b64encode(state.astype("<f4").tobytes()).decode(),
                }
            )
        client.post("/v1/episodic/batch", json={"memories": memories}).raise_for_status()


def delete(client: httpx.Client) -> None:
    """Remove the measured agent's memories."""
    wanted = {"agent_id": AGENT, "dry_run": False}
    while client.post("/v1/episodic/delete", json=wanted).raise_for_status().json()["remaining"]:
        pass


def measure_fresh(browser: Browser, url: str) -> tuple[int, int]:
    """Milliseconds to the nearest moments and to the values, asked of a service for the first time:
    its estimate reads the histories of all agents."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(FRESH_WITHIN_MS)
    started = time.perf_counter()
    page.goto(f"{url}/console/{MOMENT}", wait_until="commit")
    took = []
    for shown in (MOMENTS, VALUES):
        page.locator(shown).wait_for()
        took.append(round((time.perf_counter() - started) * 1000))
    page.close()
    return took[0], took[1]


def first_view(browser: Browser, url: str, link: str, shown: str) -> tuple[float, float]:
    """Milliseconds to the first paint, and to what the view is for; nothing is in a cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.set_default_timeout(SHOWN_WITHIN_MS)
        started = time.perf_counter()
        page.goto(f"{url}/console/{link}", wait_until="commit")
        page.locator(shown).first.wait_for()
        took_ms = (time.perf_counter() - started) * 1000
        painted: float = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
        )
        return painted, took_ms
    finally:
        context.close()


def frames(page: Page) -> list[float]:
    """Milliseconds between the frames of a drag over the whole map."""
    times: list[float] = page.evaluate(FRAMES, DRAGS)
    return [after - before for before, after in pairwise(times)]


def measure_views(browser: Browser, url: str) -> dict[str, tuple[int, int]]:
    """Milliseconds to the first paint and to the contents of each view, medians of ROUNDS."""
    told: dict[str, tuple[int, int]] = {}
    for name, (link, shown) in VIEWS.items():
        first_view(browser, url, link, shown)  # the service compresses its files on first use
        rounds = [first_view(browser, url, link, shown) for _ in range(ROUNDS)]
        painted, took = (statistics.median(column) for column in zip(*rounds, strict=True))
        told[name] = (round(painted), round(took))
    return told


def measure_map(browser: Browser, url: str) -> dict[str, float]:
    """Seconds until the largest map is shown, at first and again, and how it moves."""
    told: dict[str, float] = {}
    for name in ("first_s", "again_s"):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        started = time.perf_counter()
        page.goto(f"{url}/console/#/map?agent={AGENT}&limit={MEMORIES}")
        expect(page.get_by_text(f"All {MEMORIES:,} memories.")).to_be_visible(timeout=120_000)
        told[name] = round(time.perf_counter() - started, 2)
    gaps = frames(page)
    told["frame_ms"] = round(statistics.median(gaps), 1)
    told["frame_p95_ms"] = round(float(np.quantile(gaps, 0.95)), 1)
    told["frames_per_s"] = round(1000 * len(gaps) / sum(gaps), 1)
    return told


def take_pictures(browser: Browser, url: str, folder: Path) -> None:
    """Write the guide's pictures."""
    for name, (link, shown) in PICTURES.items():
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"{url}/console/{link}")
        page.locator(shown).first.wait_for()
        expect(page.locator(".loading")).to_have_count(0)
        page.wait_for_timeout(1000)
        page.locator(shown).first.evaluate(FROM_HERE)
        page.screenshot(path=os.fspath(folder / f"console-{name}.png"))
        page.close()


def verdict(holds: bool) -> str:
    """Return whether a figure keeps its limit, in words."""
    return "kept" if holds else "**not kept**"


def report(
    fresh: tuple[int, int],
    views: dict[str, tuple[int, int]],
    drawn: dict[str, float],
    memories: int,
    before: str,
) -> str:
    """Return the page of figures."""
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    size_kb = sum(len(gzip.compress(path.read_bytes())) for path in files) / 1000
    first_ms = views[FIRST][1]
    per_s = drawn["frames_per_s"]
    rows = "\n".join(
        f"| {name} | {paint} ms | {shown} ms |" for name, (paint, shown) in views.items()
    )
    return f"""# How fast the console is

`make bench-console` measures a service of its own with the demo's {memories:,} memories, in
Chromium with nothing in its cache, without a graphics card.

| limit | measured | |
| --- | ---: | --- |
| first view below {FIRST_VIEW_MS:,} ms | {first_ms} ms | {verdict(first_ms < FIRST_VIEW_MS)} |
| all files compressed below {SIZE_KB} KB | {size_kb:.0f} KB | {verdict(size_kb < SIZE_KB)} |
| {FRAMES_PER_S} frames a second, {MEMORIES:,} points | {per_s} | {verdict(per_s >= FRAMES_PER_S)} |

## Each view

| view | first paint | its contents |
| --- | ---: | ---: |
{rows}

Medians of {ROUNDS}. Of a service that has answered no estimate yet, the nearest moments of all
agents are there after {fresh[0]} ms, and the value of each action after {fresh[1]} ms: the first
estimate reads the histories of all {memories:,} memories.

## The largest map

A map of {MEMORIES:,} points is there after {drawn["first_s"]} s, and after {drawn["again_s"]} s
when it is opened again. Dragged, it moves at {per_s} frames a second: {drawn["frame_ms"]} ms a
frame in the median, {drawn["frame_p95_ms"]} ms in the slowest twentieth. The Map view asks for
20,000 points unless told otherwise; the service thins the memory out evenly and says so.

{now_line()}; {describe_machine().sentence}; load average before {before}, after {load_line()}.
"""


@contextmanager
def filled_service(url: str | None) -> Iterator[str]:
    """Yield the address of a service with the demo's memories."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder, service_process(data_dir=folder) as service:
        demo = [sys.executable, "-m", "demo", "--url", service.url, "--yes", "--questions", "1"]
        subprocess.run(demo, check=True, stdout=subprocess.DEVNULL)
        yield service.url


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the page; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--url", help="a service that `make demo` has filled; unset: one of its own"
    )
    parser.add_argument("--report", type=Path, default=BENCHMARKS / "console.md")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="take pictures, too")
    arguments = parser.parse_args(argv)
    if find_chromium() is None:
        sys.exit(MISSING)
    before = load_line()
    with (
        filled_service(arguments.url) as url,
        httpx.Client(base_url=url, timeout=120, trust_env=False) as client,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        memories = client.get("/v1/stats").json()["totals"]["memories"]
        fresh = measure_fresh(browser, url)
        if arguments.pictures is not None:
            take_pictures(browser, url, arguments.pictures)
        views = measure_views(browser, url)
        fill(client)
        try:
            drawn = measure_map(browser, url)
        finally:
            delete(client)
        browser.close()
    arguments.report.write_text(report(fresh, views, drawn, memories, before), encoding="utf-8")
    sys.stdout.write(arguments.report.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
