"""The tools in a graph of LangGraph: only the language model is a scripted one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from numpy.typing import NDArray

from coinswarm_memory import Memory
from coinswarm_memory.langgraph import memory_tools
from tests.conftest import DIMENSION

NAMES = ("rsi", "volatility")
OVERSOLD = {"rsi": 25.0, "volatility": 0.3}
DAY = 86_400.0


def encode(moment: Mapping[str, float]) -> NDArray[np.float32]:
    padded = np.zeros(DIMENSION, np.float32)
    padded[: len(NAMES)] = [moment[name] / 100 for name in NAMES]
    padded[-1] = 1.0
    return padded


def _run(tools: list[Any], *calls: dict[str, Any]) -> list[Any]:
    """What each call of the model's was answered."""
    script = [AIMessage("", tool_calls=[call | {"id": str(n)}]) for n, call in enumerate(calls)]
    model = GenericFakeChatModel(messages=iter([*script, AIMessage("done")]))

    def decide(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("decide", decide)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "decide")
    graph.add_conditional_edges("decide", tools_condition, {"tools": "tools", END: END})
    graph.add_edge("tools", "decide")
    ended = graph.compile().invoke({"messages": [("user", "What now?")]})
    assert ended["messages"][-1].content == "done"
    return [message for message in ended["messages"] if isinstance(message, ToolMessage)]


def test_a_model_remembers_recalls_and_estimates(memory: Memory) -> None:
    tools = memory_tools(memory.agent("model"), encode=encode)
    remembered, recalled, estimated = _run(
        tools,
        {
            "name": "remember",
            "args": {
                "moment": OVERSOLD,
                "action": "buy",
                "reward": 0.02,
                "product": "BTC-USD",
                "note": "oversold",
            },
        },
        {"name": "recall_similar_moments", "args": {"moment": OVERSOLD, "count": 3}},
        {"name": "estimate_actions", "args": {"moment": OVERSOLD, "product": "BTC-USD"}},
    )
    (stored,) = memory.agent("model").query()
    assert remembered.content == f"Stored as {stored.id}."
    assert stored.metadata == {"moment": OVERSOLD, "note": "oversold"}
    assert "1 similar moments" in recalled.content
    assert "BTC-USD, unknown: buy, reward +0.0200, distance 0.0000" in recalled.content
    assert recalled.content.endswith("note: oversold")
    assert "- buy: expected reward +0.0200" in estimated.content
    assert "Novelty" in estimated.content


def test_a_backtest_s_model_sees_nothing_of_later(memory: Memory) -> None:
    me = memory.agent("model_then")
    for day in range(5):
        at = 1.6e9 + day * DAY
        me.remember(
            encode(OVERSOLD), action="buy", reward=0.01 * day, timestamp=at, outcome_at=at + DAY
        )
    tools = memory_tools(me, encode=encode, clock=lambda: 1.6e9 + 2 * DAY, may_remember=False)
    assert [tool.name for tool in tools] == ["recall_similar_moments", "estimate_actions"]
    (recalled,) = _run(tools, {"name": "recall_similar_moments", "args": {"moment": OVERSOLD}})
    assert "2 similar moments" in recalled.content


def test_a_wrong_argument_is_told_to_the_model(memory: Memory) -> None:
    tools = memory_tools(memory.agent("model"), encode=encode)
    (answer,) = _run(
        tools, {"name": "recall_similar_moments", "args": {"moment": "cheap", "count": 3}}
    )
    assert answer.status == "error"
    assert "moment" in answer.content
    schema: Any = tools[0].get_input_schema().model_json_schema()
    assert schema["required"] == ["moment"]
    assert "indicators by name" in schema["properties"]["moment"]["description"]
    assert "similar" in tools[0].description


def test_nothing_known_is_said_so(memory: Memory) -> None:
    tools = memory_tools(memory.agent("nobody yet"), encode=encode)
    said = [tool.invoke({"moment": OVERSOLD}) for tool in tools[:2]]
    assert said == [
        "No similar moment is known.",
        "No similar moment with a known outcome: nothing can be said.",
    ]


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """LangChain's own service is not called from here."""
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
