"""Answers as JSON bytes. Stored records go out as they were stored, without decoding."""

from collections.abc import Mapping, Sequence

import orjson
from fastapi import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from app.api.repeatable import id_of_item, problem_of_item
from app.auth.caller import caller
from app.context import Durability
from app.errors import MemoryServiceError
from app.memory.changes import ChangedMemory
from app.memory.estimate import Estimate
from app.memory.estimates.action_values import ActionValue
from app.memory.estimates.judgement import Judgement
from app.memory.paging import MemoryPage
from app.memory.sampling import Sample
from app.memory.semantic import PatchedConcept
from app.memory.storing import BatchOutcome
from app.model import Accesses, Answer, Hit, Stored
from app.storage.listing import Deletion
from app.storage.memories import StoredHash
from app.vectors import to_array

_STEPS = {None: b"", "asked": b',"regime_step":"asked"', "other": b',"regime_step":"other"'}
DURABILITY_HEADER = "X-Durability"


def json_response(content: object, status: int = 200) -> Response:
    """Return any JSON-serialisable value as a response."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def completeness(whole_since: float | None) -> dict[str, object]:
    """Return the fields that say whether something that an answer asks for was purged."""
    if whole_since is None:
        return {"partial": False}
    return {"partial": True, "whole_since": whole_since}


def written_response(
    content: Mapping[str, object], durability: Durability, status: int = 200
) -> Response:
    """Return the result of a write and its durability."""
    response = json_response({**content, "durability": durability}, status)
    return with_durability(response, durability)


def with_durability(response: Response, durability: Durability) -> Response:
    """Add the durability that was reached to the headers of a write's response."""
    response.headers[DURABILITY_HEADER] = durability
    return response


def model_response(model: BaseModel) -> Response:
    """Return a pydantic model as a response."""
    return Response(model.model_dump_json(), media_type="application/json")


def search_response(answer: Answer, took_ms: float, parse_ms: float) -> Response:
    """Return a search's answer. `parse_ms` is the part of the time that parsing its body took."""
    return JsonBytes(_search_body(answer, took_ms, parse_ms))


def _search_body(answer: Answer, took_ms: float, parse_ms: float = 0.0) -> bytes:
    hits = answer.hits
    return b'{"memories":[%b],"count":%d,"exact":%b,"partial":%b,"cached":%b,%b' % (
        _plain_hits(hits) if _are_plain(hits) else b",".join(map(_hit, hits)),
        len(hits),
        _boolean(answer.exact),
        _boolean(answer.partial),
        _boolean(answer.cached),
        orjson.dumps(_search_end(answer, took_ms, parse_ms))[1:],
    )


def _are_plain(hits: Sequence[Hit]) -> bool:
    """Return whether the hits have nothing but a record and a distance, as nearly all do."""
    return not [
        hit
        for hit in hits
        if hit.vectors is not None or hit.accesses is not None or hit.regime_step is not None
    ]


def _plain_hits(hits: Sequence[Hit]) -> bytes:
    if not hits:
        return b""
    # One call for all numbers: a call for each takes twice as long.
    distances = orjson.dumps([hit.distance for hit in hits])[1:-1].split(b",")
    parts = [b"", b',"distance":', b"", b"},"] * len(hits)
    parts[::4] = [hit.record[:-1] for hit in hits]
    parts[2::4] = distances
    parts[-1] = b"}"
    return b"".join(parts)


def _hit(hit: Hit) -> bytes:
    return b'%b%b%b%b,"distance":%b}' % (
        hit.record[:-1],
        _counters(hit.accesses),
        _vectors(hit.vectors),
        _STEPS[hit.regime_step],
        orjson.dumps(hit.distance),
    )


def _search_end(answer: Answer, took_ms: float, parse_ms: float) -> dict[str, object]:
    end: dict[str, object] = {"served_by": answer.served_by, "took_ms": round(took_ms, 3)}
    if answer.candidates is not None:
        kept = len(answer.hits)
        end |= {"found": answer.candidates, "distinct": kept}
        end["overlapping"] = answer.candidates - kept
    if answer.recall_id is not None:
        end |= {"recall_id": answer.recall_id, "arm": answer.arm}
    if answer.metric is not None:
        end["metric"] = answer.metric
    if answer.future_outcomes:
        end["future_outcomes"] = answer.future_outcomes
    if answer.silent_groups:
        end["unanswered_groups"] = answer.silent_groups
    if answer.whole_since is not None:
        end["whole_since"] = answer.whole_since
    trace = answer.trace
    if trace is not None:
        stages_ms = {
            "parse": parse_ms,
            "waiting": trace.waiting_ms,
            "redis": trace.redis_ms,
            "decode": trace.decode_ms,
            "total": took_ms,
        }
        end["explain"] = {
            "index": trace.index or None,
            "searches": trace.searches,
            "algorithm": trace.algorithm,
            "vector_type": trace.vector_type,
            "exact": answer.exact,
            "node": answer.served_by,
            "batch_size": trace.batch_size,
            "cache": "bypassed",
            "stages_ms": {stage: round(ms, 3) for stage, ms in stages_ms.items()},
            **({"group": trace.group} if trace.group else {}),
        }
    return end


def estimate_response(estimate: Estimate, took_ms: float, parse_ms: float) -> Response:
    """Return what to expect of each action."""
    evidence, answer = estimate.evidence, estimate.evidence.answer
    ids = evidence.ids
    content = {
        "actions": [_action(value, judged) for value, judged in estimate.actions],
        "novelty": estimate.novelty,
        "confidence": estimate.confidence,
        "memories": ids,
        "count": len(ids),
        "found": evidence.found,
        "distinct": len(ids),
        "overlapping": evidence.overlapping,
        "exact": answer.exact,
        "partial": answer.partial,
        "cached": answer.cached,
        **_search_end(answer, took_ms, parse_ms),
    }
    return JsonBytes(orjson.dumps(content))


def _action(value: ActionValue, judged: Judgement) -> dict[str, object]:
    """Return both as one object; orjson takes twice as long for the fields of slots."""
    base, interval = judged.baseline, judged.interval
    return {
        "action": value.action,
        "count": value.count,
        "value": value.value,
        "stdev": value.stdev,
        "q05": value.q05,
        "q50": value.q50,
        "q95": value.q95,
        "win_rate": value.win_rate,
        "loss_probability": value.loss_probability,
        "effective_n": value.effective_n,
        "independent_n": value.independent_n,
        "standard_error": value.standard_error,
        "value_low": value.value_low,
        "value_high": value.value_high,
        "nearest_distance": value.nearest_distance,
        "baseline": None
        if base is None
        else {
            "value": base.value,
            "stdev": base.stdev,
            "loss_probability": base.loss_probability,
            "q05": base.q05,
            "q95": base.q95,
            "n": base.n,
        },
        "shrunk_value": judged.shrunk_value,
        "shrunk_loss_probability": judged.shrunk_loss_probability,
        "shrinkage": judged.shrinkage,
        "interval": {
            "level": interval.level,
            "low": interval.low,
            "high": interval.high,
            "method": interval.method,
            "n": interval.n,
            "coverage": interval.coverage,
        },
        "pending": judged.pending,
    }


def sample_response(sample: Sample, took_ms: float) -> Response:
    """Return the experiences that were drawn."""
    memories = b",".join(
        b'%b%b,"probability":%b,"weight":%b}'
        % (
            drawn.record[:-1],
            _vectors(drawn.vectors),
            orjson.dumps(drawn.probability),
            orjson.dumps(drawn.weight),
        )
        for drawn in sample.drawn
    )
    end = {
        "count": len(sample.drawn),
        "population": sample.population,
        "seed": sample.seed,
        "next_cursor": sample.next_cursor,
        **completeness(sample.whole_since),
        "took_ms": round(took_ms, 3),
    }
    body = b'{"memories":[%b],%b' % (memories, orjson.dumps(end)[1:])
    return Response(body, media_type="application/json")


def search_results_response(
    outcomes: Sequence[Answer | MemoryServiceError], took_ms: float
) -> Response:
    """Return an answer or a problem for each search of a batch."""
    results = b",".join(
        orjson.dumps({"kind": "problem", **outcome.problem()})
        if isinstance(outcome, MemoryServiceError)
        else b'{"kind":"answer",%b' % _search_body(outcome, took_ms)[1:]
        for outcome in outcomes
    )
    return Response(b'{"results":[%b]}' % results, media_type="application/json")


def page_response(page: MemoryPage) -> Response:
    """Return one page of a query."""
    totals = {"total": page.total, "next_cursor": page.next_cursor}
    end = orjson.dumps(totals | completeness(page.whole_since))[1:]
    records = page.records
    if page.accesses:
        records = [
            b"%b%b}" % (record[:-1], _counters(accesses))
            for record, accesses in zip(records, page.accesses, strict=True)
        ]
    body = b'{"memories":[%b],%b' % (b",".join(records), end)
    return Response(body, media_type="application/json")


def changed_response(closed: ChangedMemory, durability: Durability) -> Response:
    """Return a memory after its outcome or rating was recorded."""
    is_new = closed.token is not None
    end = {"changed": is_new, "token": closed.token, "durability": durability}
    if caller.get().require_as_of:
        # What the memory holds now may lie in this caller's future.
        return written_response({"id": closed.id, **end}, durability)
    body = b"%b,%b" % (closed.record[:-1], orjson.dumps(end)[1:])
    return with_durability(Response(body, media_type="application/json"), durability)


def deletion_response(deletion: Deletion, durability: Durability) -> Response:
    """Return what a deletion by filter removed."""
    matched, deleted = deletion.matched, deletion.deleted
    return written_response(
        {"matched": matched, "deleted": deleted, "remaining": matched - deleted}, durability
    )


def memory_response(found: StoredHash, accesses: Accesses | None = None) -> Response:
    """Return one memory with its vectors, and a concept with its counters."""
    body = b"%b%b%b}" % (found.record[:-1], _counters(accesses), _vectors(found.vectors))
    return Response(body, media_type="application/json")


def patched_response(patched: PatchedConcept, durability: Durability) -> Response:
    """Return a concept as it is now."""
    end = orjson.dumps({"token": patched.token, "durability": durability})[1:]
    body = b"%b%b,%b" % (patched.record[:-1], _counters(patched.accesses), end)
    return with_durability(Response(body, media_type="application/json"), durability)


def batch_response(
    outcome: BatchOutcome, durability: Durability, items: Sequence[object], scope: Scope
) -> Response:
    """Return the result for each item of a batch. `scope` is the request's."""
    results = [
        _batch_result(index, one, items[index], scope) for index, one in enumerate(outcome.outcomes)
    ]
    return written_response(
        {
            "results": results,
            "created": _count(results, "created"),
            "failed": _count(results, "error"),
            "token": outcome.token,
        },
        durability,
    )


def _batch_result(
    index: int, outcome: Stored | MemoryServiceError, item: object, scope: Scope
) -> dict[str, object]:
    if isinstance(outcome, MemoryServiceError):
        problem = problem_of_item(outcome, item, scope)
        return {"index": index, "id": id_of_item(item), "status": "error", "error": problem}
    return {"index": index, "id": outcome.id, "status": outcome.status}


def _count(results: Sequence[Mapping[str, object]], status: str) -> int:
    return sum(result["status"] == status for result in results)


def _counters(accesses: Accesses | None) -> bytes:
    if accesses is None:
        return b""
    last = b"null" if accesses.last_accessed is None else orjson.dumps(accesses.last_accessed)
    return b',"access_count":%d,"last_accessed":%b' % (accesses.count, last)


def _vectors(vectors: Mapping[str, bytes] | None) -> bytes:
    return b"".join(
        b',"%b":%b'
        % (name.encode(), orjson.dumps(to_array(raw), option=orjson.OPT_SERIALIZE_NUMPY))
        for name, raw in (vectors or {}).items()
    )


def _boolean(value: bool) -> bytes:
    return b"true" if value else b"false"


JSON = (b"content-type", b"application/json")


class JsonBytes(Response):
    """A response whose headers are known in advance; Starlette's derives them each time."""

    media_type = "application/json"

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [JSON, (b"content-length", b"%d" % len(body))]

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Send head and body."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": self.body})
