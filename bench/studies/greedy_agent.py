"""What one greedy agent at full speed does to the others, with and without a cap on its requests.

python -m bench.studies.greedy_agent

The others ask at a modest pace throughout: alone, beside a greedy agent without a cap, and beside
one whose key has `--limit-concurrency`. The same key alone shows what a cap costs a swarm that has
only one. Rounds alternate; each figure is the median of the rounds.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx

from app.api_keys import KeyLimits, KeyRecord, new_key
from app.storage.key_store import FileKeyStore
from bench.machine import describe_machine, load_line, now_line
from bench.service import running_service
from bench.studies import _closed_loop as closed_loop
from bench.studies._batches import DIMENSION, as_base64, memory, random_vectors
from bench.studies._closed_loop import HttpRequest, Load

AGENTS = ("greedy", "calm")
MEMORIES = 1000
GREEDY_CONNECTIONS = 32
CALM_CONNECTIONS = 4
CALM_PAUSE_S = 0.01
LONE = "greedy and nobody else"
CAPS = (16, 8, 4, 2, 1)


def search_source(agent: str, key: str) -> closed_loop.Source:
    """Searches of this agent that no cache can answer, one after the other, over and over."""
    wires = []
    for vector in random_vectors(7 if agent == "calm" else 8, 2000):
        body = b'{"agent_id":"%b","top_k":10,"explain":true,"state_vector":"%b"}' % (
            agent.encode(),
            as_base64(vector).encode(),
        )
        head = (
            "POST /v1/episodic/search HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        wires.append(HttpRequest(agent, head.encode() + body))
    at = 0

    def following() -> HttpRequest:
        nonlocal at
        at = (at + 1) % len(wires)
        return wires[at]

    return following


async def make_key(store: FileKeyStore, concurrency: int | None) -> str:
    """A key with this cap."""
    key, key_id, digest = new_key()
    record = KeyRecord(
        id=key_id,
        sha256=digest,
        role="write",
        limits=KeyLimits(concurrency=concurrency),
        created_at=time.time(),
    )
    await store.write(record)
    return key


def main() -> int:
    """Measure and print a table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    p99: defaultdict[str, list[float]] = defaultdict(list)
    rate: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        store = FileKeyStore(Path(folder) / "keys")
        keys = {cap: asyncio.run(make_key(store, cap)) for cap in (None, *CAPS)}
        calm = Load(search_source("calm", keys[None]), CALM_CONNECTIONS, CALM_PAUSE_S)
        settings = {"MEMORY_API_KEYS_FILE": f"{folder}/keys", "MEMORY_DIMENSION": str(DIMENSION)}
        with running_service(settings) as service:
            fill(service.port, keys[None])
            for _ in range(arguments.rounds):
                for name, loads in cases(calm, keys).items():
                    figures = closed_loop.run(service.port, loads, seconds=arguments.seconds)
                    p99[name].append(
                        0.0 if name.startswith(LONE) else figures.percentile_ms("calm", 99)
                    )
                    rate[name].append(figures.rate_of("greedy"))
    alone = statistics.median(p99["alone"])
    only = statistics.median(rate[f"{LONE}, no cap"])
    lines = [f"{now_line()}; {describe_machine().sentence}; load average {load_line()}", ""]
    lines += [
        "| beside the others | their p99 | of alone | greedy searches |",
        "| --- | --- | --- | --- |",
    ]
    for name in p99:
        own = statistics.median(rate[name])
        if name.startswith(LONE):
            lines.append(f"| {name} | | | {own:,.0f}/s, {own / only:.2f}x |")
        else:
            middle = statistics.median(p99[name])
            lines.append(f"| {name} | {middle:.2f} ms | {middle / alone:.2f}x | {own:,.0f}/s |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def cases(calm: Load, keys: dict[int | None, str]) -> dict[str, list[Load]]:
    """Who asks in each case."""
    found = {"alone": [calm]}
    for cap, key in keys.items():
        name = "no cap" if cap is None else f"at most {cap} at once"
        greedy = [Load(search_source("greedy", key)) for _ in range(GREEDY_CONNECTIONS)]
        found[f"greedy, {name}"] = [calm, *greedy]
        found[f"{LONE}, {name}"] = greedy
    return found


def fill(port: int, key: str) -> None:
    """Store each agent's memories."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=60
    ) as client:
        for agent in AGENTS:
            vectors = random_vectors(1 if agent == "calm" else 2, MEMORIES)
            items = [memory(agent, n, as_base64(vector)) for n, vector in enumerate(vectors)]
            client.post("/v1/episodic/batch", json={"memories": items}).raise_for_status()


if __name__ == "__main__":
    sys.exit(main())
