"""A stand-in for a cluster's API server, to which Helm installs: it records what it is sent.

The Python binding of Helm has no `template`. An installation renders in the same way, checks the
values against their schema, and sends each object here.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KINDS = {
    "v1": {
        "ConfigMap": "configmaps",
        "Secret": "secrets",
        "Service": "services",
    },
    "apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "monitoring.coreos.com/v1": {
        "ServiceMonitor": "servicemonitors",
        "PrometheusRule": "prometheusrules",
    },
}


class Cluster:
    """What was sent, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.objects: list[dict[str, Any]] = []

    def kubeconfig(self) -> str:
        """Return the configuration that leads a client here."""
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )


@contextmanager
def running_cluster(version: str) -> Iterator[Cluster]:
    """Run the stand-in of this Kubernetes version on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.cluster = Cluster(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    server.version = version  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.cluster  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        answer = self._discovery(path)
        if answer is not None:
            self._answer(200, answer)
        elif path.rpartition("/")[2] in {p for some in KINDS.values() for p in some.values()}:
            self._answer(200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []})
        else:
            self._answer(404, _status(404, "NotFound"))

    def do_POST(self) -> None:
        raw = self._sent()
        if not self._is_of_helm():
            self.server.cluster.objects.append(json.loads(raw))  # type: ignore[attr-defined]
        self._send(201, raw, self.headers["Content-Type"])

    def do_PUT(self) -> None:
        self._send(200, self._sent(), self.headers["Content-Type"])

    do_PATCH = do_PUT  # noqa: N815 - the base class's names

    def _is_of_helm(self) -> bool:
        """Return whether this is the release itself, which Helm keeps in a Secret of its own."""
        return "protobuf" in self.headers["Content-Type"]

    def _sent(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _discovery(self, path: str) -> dict[str, Any] | None:
        version = self.server.version  # type: ignore[attr-defined]
        if path == "version":
            major, minor = version.split(".")
            return {"major": major, "minor": minor, "gitVersion": f"v{version}.0"}
        if path == "api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [*_groups()]}
        where = path.removeprefix("apis/").removeprefix("api/")
        if where in KINDS:
            return _resources(where)
        return None

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, raw: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _groups() -> Iterator[dict[str, Any]]:
    for group_version in KINDS:
        group, _, version = group_version.rpartition("/")
        if group:
            named = {"groupVersion": group_version, "version": version}
            yield {"name": group, "versions": [named], "preferredVersion": named}


def _resources(group_version: str) -> dict[str, Any]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    found = [
        {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for kind, plural in KINDS[group_version].items()
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": found,
    }


def _status(code: int, reason: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "code": code,
    }
