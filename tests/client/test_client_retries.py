"""What is repeated, when, and what never is. The service's faults are played by a transport."""

import json
import logging
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

import coinswarm_memory as cm
from coinswarm_memory import Memory
from coinswarm_memory.retry import Attempts
from tests.conftest import DIMENSION

STATE = [1.0] * DIMENSION
Handler = Callable[[httpx.Request], httpx.Response]


def problem(code: str, status: int, *, retryable: bool, **headers: str) -> httpx.Response:
    body = {"code": code, "status": status, "detail": f"{code}.", "retryable": retryable}
    return httpx.Response(status, json=body, headers=headers)


def stored(request: httpx.Request) -> httpx.Response:
    name = json.loads(request.content)["id"]
    return httpx.Response(201, json={"id": name, "created": True, "token": f"{'a' * 40}:7"})


def client(
    *answers: httpx.Response | Exception | Handler, timeout_s: float = 5.0
) -> tuple[Memory, list[httpx.Request]]:
    """A client whose requests get these answers in order, and the requests that it sent."""
    sent: list[httpx.Request] = []
    left: Iterator[httpx.Response | Exception | Handler] = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        given = next(left)
        if isinstance(given, Exception):
            raise given
        return given if isinstance(given, httpx.Response) else given(request)

    transport = httpx.MockTransport(answer)
    memory = Memory("http://x", timeout_s=timeout_s, dimension=DIMENSION, transport=transport)
    return memory, sent


@pytest.mark.parametrize(
    "first",
    [
        problem("storage_unavailable", 503, retryable=True),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("disconnected"),
        httpx.ConnectError("refused"),
    ],
)
def test_a_store_is_repeated_under_the_same_id(first: httpx.Response | Exception) -> None:
    memory, sent = client(first, stored)
    answer = memory.agent("a").remember(STATE, reward=1.0)
    assert len(sent) == 2
    assert sent[0].content == sent[1].content
    assert json.loads(sent[0].content)["id"] == answer.id
    assert sent[0].headers["x-request-id"] == sent[1].headers["x-request-id"]
    assert int(sent[0].headers["x-deadline-ms"]) <= 5000


def test_what_the_service_does_not_call_retryable_is_not_repeated() -> None:
    memory, sent = client(problem("search_timeout", 504, retryable=False))
    with pytest.raises(cm.SearchTimeout):
        memory.agent("a").recall(STATE)
    assert len(sent) == 1


def test_retry_after_is_waited_for_within_the_time_of_the_call() -> None:
    limited = problem("rate_limited", 429, retryable=True, **{"Retry-After": "1"})
    memory, sent = client(limited, stored)
    started = time.monotonic()
    memory.agent("a").remember(STATE)
    assert time.monotonic() - started >= 1
    memory, sent = client(limited, timeout_s=0.5)
    with pytest.raises(cm.RateLimited) as refused:
        memory.agent("a").remember(STATE)
    assert refused.value.retry_after_s == 1
    assert len(sent) == 1


def test_a_deletion_whose_reply_was_lost_is_done() -> None:
    missing = problem("memory_not_found", 404, retryable=False)
    memory, _ = client(httpx.ReadError("reset"), missing)
    memory.agent("a").delete("x")
    memory, _ = client(missing)
    with pytest.raises(cm.MemoryNotFound):
        memory.agent("a").delete("x")
    missing = problem("metric_not_found", 404, retryable=False)
    memory, _ = client(httpx.ReadError("reset"), missing)
    memory.distances.take_back("a:x")
    memory, _ = client(missing)
    with pytest.raises(cm.MetricNotFound):
        memory.distances.delete("a:x")


def test_a_deletion_by_filter_is_not_repeated_after_a_lost_reply() -> None:
    memory, sent = client(httpx.ReadError("reset"))
    with pytest.raises(cm.ServiceUnreachable) as lost:
        memory.agent("a").delete_matching(max_reward=0.0, dry_run=False)
    assert lost.value.was_sent
    assert len(sent) == 1


def test_the_latest_token_travels_along_until_its_history_ends() -> None:
    found = httpx.Response(
        200,
        json={"memories": [], "exact": True, "partial": False, "served_by": "m", "took_ms": 1},
    )
    unknown = problem("token_unknown", 409, retryable=False)
    memory, sent = client(found, stored, found, unknown, found, found)
    me = memory.agent("a")
    me.recall(STATE)
    me.remember(STATE)
    me.recall(STATE)
    me.recall(STATE)
    me.recall(STATE)
    asked = [json.loads(request.content).get("consistency") for request in sent]
    token = f"{'a' * 40}:7"
    assert asked == [None, None, token, token, "strong", None]


def test_an_unknown_code_and_an_unreadable_answer_are_told_apart() -> None:
    memory, _ = client(problem("new_code", 418, retryable=False))
    with pytest.raises(cm.UnknownProblem) as refused:
        memory.agent("a").recall(STATE)
    assert refused.value.unknown_code == "new_code"
    memory, _ = client(httpx.Response(200, content=b"<html>"))
    with pytest.raises(cm.UnexpectedReply):
        memory.agent("a").recall(STATE)
    memory, _ = client(httpx.Response(502, content=b"<html>"))
    with pytest.raises(cm.ServiceProblem):
        memory.agent("a").recall(STATE)


def test_nothing_is_sent_for_a_wrong_vector() -> None:
    memory, sent = client()
    me = memory.agent("a")
    for wrong in ([1.0] * (DIMENSION + 1), [float("nan")] * DIMENSION, [STATE]):
        with pytest.raises(cm.InvalidVector):
            me.remember(wrong)
        with pytest.raises(cm.InvalidVector):
            me.recall(wrong)
    assert not sent


def test_calls_are_logged_with_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    memory, sent = client(httpx.ReadError("reset"), stored)
    with caplog.at_level(logging.DEBUG, logger="coinswarm_memory"):
        memory.agent("a").remember(STATE)
    assert len(caplog.records) == 2
    assert all(sent[0].headers["x-request-id"] in line.getMessage() for line in caplog.records)


def test_pauses_double_up_to_a_limit_and_end_with_the_call() -> None:
    attempts = Attempts(lambda: 0.0, 1000.0, random=lambda _, longest: longest)
    error = cm.ServiceUnreachable("gone", was_sent=False)
    pauses = [attempts.pause_s(error, repeatable=True) for _ in range(8)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    late = Attempts(lambda: 999.99, 1000.0)
    assert late.pause_s(error, repeatable=True) is None
