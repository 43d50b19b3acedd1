"""`make bench-console`: how fast the console opens, and how its largest map moves.

Needs a running service that `make demo` has filled (URL, or the address in the settings). Stores an
agent of its own with 100,000 memories for the map, and deletes them afterwards.
"""

import argparse
import base64
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

import httpx
import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.console import STATIC
from tests.browser.chromium import MISSING, find_chromium

AGENT = "console_measured"
MEMORIES = 100_000
BATCH = 1000
DIMENSION = 256
ROUNDS = 7
DRAGS = 90

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


def first_view(browser: Browser, url: str, link: str, shown: str) -> tuple[float, float]:
    """Milliseconds to the first paint, and to what the view is for; nothing is in a cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    started = time.perf_counter()
    page.goto(f"{url}/console/{link}", wait_until="commit")
    page.locator(shown).first.wait_for()
    took_ms = (time.perf_counter() - started) * 1000
    painted: float = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
    )
    context.close()
    return painted, took_ms


def frames(page: Page) -> list[float]:
    """Milliseconds between the frames of a drag over the whole map."""
    times: list[float] = page.evaluate(FRAMES, DRAGS)
    return [after - before for before, after in pairwise(times)]


def measure(browser: Browser, url: str, moment: str) -> dict[str, object]:
    """Return all figures."""
    views = {
        "Ask with an answer": (moment, "text=Nearest moments"),
        "Swarm": ("#/swarm", "text=Latest moment"),
        "Health": ("#/health", "text=Background jobs"),
    }
    told: dict[str, object] = {}
    for name, (link, shown) in views.items():
        rounds = [first_view(browser, url, link, shown) for _ in range(ROUNDS)]
        painted, took = (statistics.median(column) for column in zip(*rounds, strict=True))
        told[name] = {"first_paint_ms": round(painted), "shown_ms": round(took)}
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    started = time.perf_counter()
    page.goto(f"{url}/console/#/map?agent={AGENT}&limit={MEMORIES}")
    expect(page.get_by_text(f"All {MEMORIES:,} memories.")).to_be_visible(timeout=120_000)
    told["map_shown_s"] = round(time.perf_counter() - started, 2)
    gaps = frames(page)
    told["map_points"] = MEMORIES
    told["map_frame_ms"] = {
        "median": round(statistics.median(gaps), 1),
        "p95": round(float(np.quantile(gaps, 0.95)), 1),
    }
    told["map_frames_per_s"] = round(1000 * len(gaps) / sum(gaps), 1)
    return told


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print JSON; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--moment", default="#/ask?agent=agent_AAPL&id=AAPL-2020-03-20&scope=all")
    arguments = parser.parse_args(argv)
    if find_chromium() is None:
        sys.exit(MISSING)
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    told: dict[str, object] = {
        "compressed_bytes": sum(len(gzip.compress(path.read_bytes())) for path in files),
        "load_average": round(os.getloadavg()[0], 1),
    }
    with (
        httpx.Client(base_url=arguments.url, timeout=120, trust_env=False) as client,
        sync_playwright() as playwright,
    ):
        told["memories"] = client.get("/v1/stats").json()["totals"]["memories"]
        fill(client)
        try:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            told |= measure(browser, arguments.url, arguments.moment)
            browser.close()
        finally:
            delete(client)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
