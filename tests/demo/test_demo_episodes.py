import base64
import json

import numpy as np
import pytest

from demo.episodes import agent_batches, encode_vector, episode, episode_id
from demo.market import market_windows
from demo.plan import PlanError, plan
from tests.demo.synthetic import random_market

WINDOWS = market_windows(random_market(days=960, products=3))


def test_ids_are_unique_and_say_product_and_day() -> None:
    ids = [episode_id(WINDOWS, row) for row in range(len(WINDOWS))]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "P-0-2002-05-20"


def test_an_episode_is_json_with_its_vector_bit_for_bit() -> None:
    memory = json.loads(json.dumps(episode(WINDOWS, 4)))
    vector = np.frombuffer(base64.b64decode(memory["state_vector"]), dtype="<f4")
    assert np.array_equal(vector, WINDOWS.vectors[4])
    assert memory["id"] == episode_id(WINDOWS, 4)
    assert (memory["agent_id"], memory["product_id"]) == ("agent_P-1", "P-1")
    assert memory["outcome_at"] > memory["timestamp"]
    assert memory["terminal"] is True
    assert memory["metadata"]["horizon_days"] == 21
    assert encode_vector(WINDOWS.vectors[4].astype(">f4")) == memory["state_vector"]


def test_batches_hold_every_moment_once_each_agents_in_order_of_time() -> None:
    sent = [list(batches) for batches in agent_batches(WINDOWS, 100)]
    assert len(sent) == 3
    for number, batches in enumerate(sent):
        assert {len(batch) for batch in batches[:-1]} == {100}
        memories = [memory for batch in batches for memory in batch]
        assert {memory["agent_id"] for memory in memories} == {f"agent_P-{number}"}
        times = [memory["timestamp"] for memory in memories]
        assert times == sorted(times)
    assert sum(len(batch) for batches in sent for batch in batches) == len(WINDOWS)
    with pytest.raises(ValueError, match="at least 1"):
        agent_batches(WINDOWS, 0)


def test_what_is_stored_was_known_before_the_year_that_is_asked_about() -> None:
    todo = plan(WINDOWS, years=(2001, 2002))
    new_year = np.datetime64("2003-01-01T00:00:00").astype(np.float64)
    assert todo.stored.outcome_at.max() < new_year
    assert len(todo.questions) == 3
    for row in todo.questions:
        assert WINDOWS.timestamps[row] >= new_year
    assert WINDOWS.product_index[todo.questions].tolist() == [0, 1, 2]
    assert plan(WINDOWS, years=(2001, 2002), limit=50).stored.dates[-1] == todo.stored.dates[-1]
    assert len(plan(WINDOWS, years=(2001, 2002), limit=50).stored) == 50


def test_a_question_can_be_named() -> None:
    todo = plan(WINDOWS, years=(2001, 2002), ask=["P-2-2003-02-01"])
    assert [episode_id(WINDOWS, row) for row in todo.questions] == ["P-2-2003-02-01"]
    with pytest.raises(PlanError, match="No moment P-2-2002-12-01 to ask about"):
        plan(WINDOWS, years=(2001, 2002), ask=["P-2-2002-12-01"])


@pytest.mark.parametrize("years", [(1990, 1995), (2001, 2010)])
def test_years_without_moments_are_refused(years: tuple[int, int]) -> None:
    with pytest.raises(PlanError, match="nothing to store or to ask"):
        plan(WINDOWS, years=years)
