"""What the three scenarios share: prepared data, a common start, recorded requests."""

import itertools
import logging
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gevent
from gevent.event import Event as GeventEvent
from locust import FastHttpUser, constant, events
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import WorkerRunner

from bench.data import Workload
from bench.filling import FillError, fill
from demo.client_key import key_headers
from loadtest._options import watched_processes
from loadtest._recorder import Recorder

HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity", **key_headers()}
START_TIMEOUT_S = 60.0

NOT_RUN = 2
"""Exit status when the memories could not be stored."""

_log = logging.getLogger(__name__)


class MeasuredUser(FastHttpUser):
    """A user that begins to be measured when all users are there and warm."""

    abstract = True
    host = "http://127.0.0.1:8000"
    wait_time = constant(0)

    _numbers: ClassVar[Iterator[int]]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.number = next(type(self)._numbers)

    def on_start(self) -> None:
        if not current_run().is_ready:
            raise StopUser

    @classmethod
    def prepare(cls, options: Namespace) -> Workload:
        """Make data and requests. Returns what the service must hold."""
        raise NotImplementedError

    def send(self, path: str, body: bytes, *, kind: str, agent: int, item: int) -> None:
        """Send one request; Locust's statistics show it under its kind."""
        context = {"kind": kind, "agent": agent, "item": item, "is_search": path.endswith("search")}
        self.client.post(
            path,
            data=body,  # type: ignore[arg-type]  # bytes go out as they are
            headers=HEADERS,
            name=kind,
            context=context,
        )


class Run:
    """One test: from Locust's start button, or its command line, to the end."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        assert options is not None
        self.options = options
        self._environment = environment
        self._waiting = 0
        self._finished = 0
        self._all_ready = GeventEvent()
        self.is_ready = False
        self.recorder = Recorder(
            watched_processes(options),
            keep_answers=bool(options.samples) and not options.no_answers,
        )

    @property
    def _users(self) -> int:
        runner = self._environment.runner
        return runner.target_user_count if runner is not None else 0

    def wait_for_all(self) -> None:
        """Wait until all users are warm. Each user calls this once it is."""
        self._waiting += 1
        if self._waiting == self._users:
            self.recorder.begin()
            self._all_ready.set()
        self._all_ready.wait(START_TIMEOUT_S)

    def finish(self) -> None:
        """Count a user that is done. The last one ends a run on the command line."""
        self._finished += 1
        if self._finished < self._users:
            return
        self.recorder.end()
        runner = self._environment.runner
        if self.options.headless and runner is not None:
            # Not from here: quitting kills the user that asks for it.
            gevent.spawn(runner.quit)


_current: list[Run] = []


def current_run() -> Run:
    """Return the test that is running."""
    return _current[-1]


@events.init.add_listener
def prepare_before_the_clock(environment: Environment, **_: Any) -> None:
    # On the command line --run-time counts from the test's start: storing is not part of it.
    options = environment.parsed_options
    if options is not None and options.headless:
        try:
            _prepare(environment)
        except FillError as error:
            print(error, file=sys.stderr, flush=True)
            raise SystemExit(NOT_RUN) from error


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and not options.headless:
        try:
            _prepare(environment)
        except FillError:
            # The web page keeps running; users find that nothing is ready, and end.
            _log.exception("the memories could not be stored")


def _prepare(environment: Environment) -> None:
    if _current:
        environment.events.request.remove_listener(_current.pop().recorder.on_request)
    run = Run(environment)
    _current.append(run)
    run.options.run_id = run.options.run_id or str(int(time.time()))
    for user_class in environment.user_classes:
        if issubclass(user_class, MeasuredUser):
            user_class._numbers = itertools.count()
            workload = user_class.prepare(run.options)
            if not run.options.no_fill and not isinstance(environment.runner, WorkerRunner):
                _store(workload, str(environment.host or user_class.host))
    environment.events.request.add_listener(run.recorder.on_request)
    run.is_ready = True


def _store(workload: Workload, host: str) -> None:
    print(f"Storing {workload.total:,} memories at {host} ...", flush=True)
    stored = fill(host, workload, lambda _: None)
    print(f"Stored {stored.created:,} of them: {stored.rate:,.0f}/s", flush=True)


@events.test_stop.add_listener
def hand_over(**_: Any) -> None:
    if _current and _current[-1].options.samples:
        _current[-1].recorder.write(Path(_current[-1].options.samples))
