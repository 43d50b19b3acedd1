"""Runs one scene of a runbook on the deployment's own nodes."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from redis.exceptions import OutOfMemoryError, ResponseError

from app.embedded.node import LOOPBACK
from tests.conftest import DIMENSION
from tests.deploy.memories import store
from tests.deploy.nodes import (
    MASTER,
    PASSWORD,
    REPOSITORY,
    Node,
    command,
    deployment,
    prepare,
    until_written,
    wait_until,
)
from tests.deploy.transcript import Step
from tests.kit.service_process import ServiceProcess, service_process

SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
SERVICE = "http://127.0.0.1:8000"

# What may be asked again until it has come true: replication takes a moment.
LOOKS_ONLY = re.compile(r"(INFO|FT\.INFO|FT\.SEARCH|DBSIZE|PING|WAIT|ROLE|SENTINEL (MASTER|GET))\b")


class Scene:
    """A deployment to which a page's steps happen."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.nodes: dict[str, Node] = stack.enter_context(deployment(folder))
        self._service: ServiceProcess | None = None
        self._service_stack = stack.enter_context(ExitStack())

    def run(self, steps: list[Step]) -> None:
        """Do each step; fail at the first whose answer is not the page's."""
        for step in steps:
            if step.where == "test":
                self._happen(step.words)
            elif step.where == "$":
                answer = self._shell(step.words)
                assert step.matches(answer), f"{step.words}\n{answer}"
            else:
                self._ask(step)

    def _happen(self, words: str) -> None:
        what, *arguments = words.split()
        if what == "stop":
            self.nodes[arguments[0]].stop()
        elif what == "start":
            self.nodes[arguments[0]].start()
        elif what == "store":
            with self.nodes[MASTER].client() as client:
                store(client, int(arguments[0]))
                assert client.wait(2, 60_000) == 2
            until_written(self.nodes[MASTER])  # the next step may copy its files
        elif what == "fill":
            with self.nodes[MASTER].client() as client:
                client.config_set("maxmemory", client.info("memory")["used_memory"])
        elif what == "sentinels":
            self._start_sentinels()
        elif what == "service":
            self._start_service(**dict(pair.split("=", 1) for pair in arguments))
        else:
            raise AssertionError(f"unknown event: {words}")

    def _start_sentinels(self) -> None:
        for name in SENTINELS:
            node = prepare(name, self._folder / name, self.nodes[MASTER].port)
            self.nodes[name] = node
            self._stack.callback(node.stop)
            node.start()
        # Until they know both replicas and each other.
        for name in SENTINELS:
            counts = "...num-slaves\n2\n...num-other-sentinels\n2\n..."
            self._ask(Step(name, "SENTINEL MASTER coinswarm", counts.split("\n")))

    def _start_service(
        self,
        master: str = MASTER,
        replicas: str = "",
        user: str = "",
        password: str = PASSWORD,
        sentinels: str = "",
        **settings: str,
    ) -> None:
        self._service_stack.close()
        if sentinels:
            settings |= {
                "sentinel_urls": ",".join(self.nodes[name].url[:-2] for name in SENTINELS),
                "redis_password": password,
            }
        urls = [
            f"redis://{user}:{password}@{LOOPBACK}:{self.nodes[name].port}/0"
            for name in (master, *filter(None, replicas.split(",")))
        ]
        defaults = {"dimension": str(DIMENSION)}
        if not sentinels:
            defaults["redis_url"] = urls[0]
        if replicas:
            defaults["replica_urls"] = ",".join(urls[1:])
        running = service_process(**{**defaults, **settings})
        self._service = self._service_stack.enter_context(running)

    def _ask(self, step: Step) -> None:
        words = shlex.split(self._on_loopback(step.words))
        expected = Step(step.where, "", [self._on_loopback("\n".join(step.expected))])
        answers: list[str] = []

        def fits() -> bool:
            answers.append(self._raw(step.where, words))
            return expected.matches(answers[-1])

        def explain() -> str:
            return f"{step.where}> {step.words}\n{answers[-1][-1500:]}"

        if LOOKS_ONLY.match(step.words):
            wait_until(fits, explain)
        else:
            assert fits(), explain()

    def _raw(self, name: str, words: list[str]) -> str:
        """The answer as `redis-cli --raw` prints it."""
        with self.nodes[name].client() as client:
            client.response_callbacks.clear()
            try:
                return _lines(command(client, *words))
            except OutOfMemoryError as error:
                return f"OOM {error}"  # the client takes the code off the text
            except ResponseError as error:
                return str(error)

    def _on_loopback(self, text: str) -> str:
        """The nodes' names as addresses of this machine."""
        for name, node in self.nodes.items():
            text = re.sub(rf"\b{name}([ :]|,port=|\n)6379\b", rf"{LOOPBACK}\g<1>{node.port}", text)
            text = re.sub(rf"\b{name}\b", LOOPBACK, text)
        return text

    def _shell(self, words: str) -> str:
        """Run a command in the repository, or with `/data` as the master's data folder."""
        if self._service is not None:
            words = words.replace(SERVICE, self._service.url)
        # Its environment is the tests' own, wherever that lies.
        words = words.replace("./memory ", f"{sys.executable} -m app ")
        words = words.replace("/data", str(self.nodes[MASTER].folder / "data"))
        master = self.nodes[MASTER].url
        ended = subprocess.run(
            ["bash", "-c", words],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "MEMORY_REDIS_URL": master,
                "MEMORY_PORT": "0",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.stdout + ended.stderr


def _lines(reply: object) -> str:
    if isinstance(reply, list):
        return "\n".join(_lines(item) for item in reply)
    return "" if reply is None else str(reply).replace("\r\n", "\n")
