"""Names that look like the engine's syntax, and what must hold for any of them.

A condition is compared with Python's own equality: whatever a name holds, it matches itself and
nothing else.
"""

import itertools
from collections.abc import Sequence

import httpx
from hypothesis import strategies as st

MAX_CHARACTERS = 128
SYNTAX = "|*{}()[]<>=~-+%$@:;,.'\"\\/!?#&^` _"
FRAGMENTS = (
    *("} | *", "})|(*", ") | (*", "*=>[KNN 9 @state_vector $v]", "@agent_id:{*}", "-@agent_id:{x}"),
    *("@reward:[-inf +inf]", "$vector", "$limit", "\\", "\\}", "\\\\", "\\,", "{}", "_", "__"),
    *("ismissing(@action)", "w'*'", "'exact'", '"', "%%a%%", "a*", "*a", "a,b"),
    *("OR", "=>{$weight:0}", "SORTBY", "LIMIT 0 1000", "é", "e\u0301", "İ", "ß", "\u017f"),
    *("\u200b", "\u202e", "日本", "😀", "\ufeff"),
)  # fmt: skip

_letters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
_syntax = st.text(st.sampled_from(SYNTAX) | _letters, min_size=1, max_size=24)
_joined = st.lists(st.sampled_from(FRAGMENTS) | _syntax, min_size=1, max_size=4).map("".join)
names = _joined.map(lambda name: name[:MAX_CHARACTERS])
agents = names.map(lambda name: name.translate({ord("{"): "(", ord("}"): ")"}))
name_lists = st.lists(names, min_size=2, max_size=6, unique=True)

FIELDS = ("product_id", "regime", "action")
BYSTANDER = "bystander"
_numbers = itertools.count()


def store_bystander(client: httpx.Client, vector: Sequence[float]) -> None:
    """Store one memory of another agent and one concept, which nobody else's question may find."""
    memory = {"agent_id": BYSTANDER, "id": "b", "product_id": "p", "regime": "r", "action": "a"}
    answer = client.post("/v1/episodic", json=memory | {"state_vector": vector, "reward": 1.0})
    assert answer.is_success, answer.text


def check_experiences(
    client: httpx.Client, agent_id: str, found_names: Sequence[str], vector: Sequence[float]
) -> int:
    """Store a memory for each name in each field; each condition finds what equals it.

    The agent gets a number at its end, so that it is new. Returns how many answers were compared.
    """
    agent_id = f"{agent_id[:100]}{next(_numbers)}"
    memories = [
        {
            "id": f"{field}-{i}",
            "agent_id": agent_id,
            "product_id": name if field == "product_id" else "plain",
            "regime": name if field == "regime" else "plain",
            "action": name if field == "action" else "plain",
            "state_vector": vector,
        }
        for field in FIELDS
        for i, name in enumerate(found_names)
    ]
    stored = client.post("/v1/episodic/batch", json={"memories": memories}).json()
    assert stored["created"] == len(memories), stored
    compared = 0
    for field in FIELDS:
        for wanted in (*found_names, list(found_names[:2])):
            expected = {
                str(memory["id"])
                for memory in memories
                if memory[field] in ([wanted] if isinstance(wanted, str) else wanted)
            }
            _compare(client, agent_id, {field: wanted}, expected, vector)
            compared += 3
    gone = client.post("/v1/episodic/delete", json={"agent_id": agent_id, "dry_run": False}).json()
    assert gone["deleted"] == len(memories), (agent_id, gone)
    return compared + 1


def _compare(
    client: httpx.Client,
    agent_id: str,
    condition: dict[str, object],
    expected: set[str],
    vector: Sequence[float],
) -> None:
    """Check that a search, a query and a deletion's count agree with the expectation."""
    asked = {"agent_id": agent_id, **condition}
    search = client.post(
        "/v1/episodic/search", json={**asked, "state_vector": vector, "top_k": 1000}
    )
    assert search.is_success, search.text
    found = search.json()["memories"]
    assert {memory["id"] for memory in found} == expected, asked
    assert {memory["agent_id"] for memory in found} <= {agent_id}, asked
    page = client.post("/v1/episodic/query", json={**asked, "limit": 1000}).json()
    assert {memory["id"] for memory in page["memories"]} == expected, asked
    counted = client.post("/v1/episodic/delete", json=asked).json()
    assert counted["matched"] == len(expected), asked


def check_concepts(
    client: httpx.Client, found_names: Sequence[str], vector: Sequence[float]
) -> int:
    """As for experiences, by `regime_name`. Returns how many answers were compared."""
    run = next(_numbers)
    for i, name in enumerate(found_names):
        concept = {"id": f"{run}-{i}", "memory_type": "PATTERN", "regime_name": name}
        numbers = {"sharpe_ratio": 1.0, "win_rate": 0.5, "concept_vector": vector}
        assert client.post("/v1/semantic", json=concept | numbers).is_success
    compared = 0
    for i, name in enumerate(found_names):
        search = {"regime_name": name, "concept_vector": vector, "top_k": 1000}
        found = client.post("/v1/semantic/search", json=search).json()["memories"]
        assert [memory["id"] for memory in found] == [f"{run}-{i}"], name
        gone = client.post("/v1/semantic/delete", json={"regime_name": name, "dry_run": False})
        assert gone.json()["deleted"] == 1, name
        compared += 2
    return compared
