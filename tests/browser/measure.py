"""`make bench-console`: how fast the console opens, and how its largest map moves.

Starts a service of its own, fills it with the demo's 150,000 memories, and opens each view in a
browser whose cache is empty. Then an agent with 100,000 memories is added for the map. With `--url`
a service that is filled already is measured; what was added is deleted afterwards. Writes
docs/benchmarks/console.md, and the guide's pictures with `--pictures`. Takes some three minutes.
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
from playwright.sync_api import TimeoutError as PlaywrightTimeout

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
WARM_UPS = 3
WARM_WITHIN_MS = 90_000
SHOWN_WITHIN_MS = 30_000
DRAGS = 90
MOMENT = "#/ask?agent=agent_AAPL&id=AAPL-2020-03-20&scope=all"
VIEWS = {
    "Ask with an answer": (MOMENT, "text=Nearest moments"),
    "Map": ("#/map?agent=agent_AAPL", "text=The two axes hold"),
    "Swarm": ("#/swarm", "text=Latest moment"),
    "Health": ("#/health", "text=Background jobs"),
}
FROM_HERE = "(e) => e.tagName === 'SECTION' && e.scrollIntoView()"
PICTURES = {
    "ask": VIEWS["Ask with an answer"],
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


def warm_up(browser: Browser, url: str, link: str, shown: str) -> None:
    """Open a view until the service has what it needs: at first an estimate reads histories."""
    for _ in range(WARM_UPS):
        try:
            first_view(browser, url, link, shown, within_ms=WARM_WITHIN_MS)
        except PlaywrightTimeout:
            continue
        return
    raise TimeoutError(f"{link} is not shown after {WARM_UPS} tries")


def first_view(
    browser: Browser, url: str, link: str, shown: str, within_ms: int = SHOWN_WITHIN_MS
) -> tuple[float, float]:
    """Milliseconds to the first paint, and to what the view is for; nothing is in a cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.set_default_timeout(within_ms)
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
        warm_up(browser, url, link, shown)
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


def report(
    views: dict[str, tuple[int, int]], drawn: dict[str, float], memories: int, before: str
) -> str:
    """Return the page of figures."""
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    compressed = sum(len(gzip.compress(path.read_bytes())) for path in files)
    rows = "\n".join(
        f"| {name} | {paint} ms | {shown} ms |" for name, (paint, shown) in views.items()
    )
    return f"""# How fast the console is

`make bench-console` measures a service of its own with the demo's {memories:,} memories, in
Chromium with nothing in its cache, without a graphics card.

| view | first paint | its contents |
| --- | ---: | ---: |
{rows}

Medians of {ROUNDS}, after each view was opened once: the first estimate of a fresh service reads
the agents' histories, which takes seconds. The whole console has {compressed / 1000:.0f} KB
compressed.

A map of {MEMORIES:,} points is there after {drawn["first_s"]} s, and after {drawn["again_s"]} s
when it is opened again. Dragged, it moves at {drawn["frames_per_s"]} frames a second:
{drawn["frame_ms"]} ms a frame in the median, {drawn["frame_p95_ms"]} ms in the slowest twentieth.

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
        warm_up(browser, url, *VIEWS["Ask with an answer"])
        if arguments.pictures is not None:
            take_pictures(browser, url, arguments.pictures)
        views = measure_views(browser, url)
        fill(client)
        try:
            drawn = measure_map(browser, url)
        finally:
            delete(client)
        browser.close()
    arguments.report.write_text(report(views, drawn, memories, before), encoding="utf-8")
    sys.stdout.write(arguments.report.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
