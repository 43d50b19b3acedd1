"""The role that each route requires. While keys are required, a route without a rule is not served.

Whether the caller may touch a particular agent's memory is decided in the operations, which know
the agent (app/auth/caller.py).
"""

from typing import Final, Literal

from starlette.routing import compile_path

from app.auth.caller import Need

OPEN: Final = "open"
"""Anybody may call the route; it reveals nothing of the memory."""

Rule = Need | Literal["open"]

RULES: dict[tuple[str, str], Rule] = {
    ("POST", "/v1/episodic"): "write",
    ("POST", "/v1/episodic/batch"): "write",
    ("POST", "/v1/episodic/search"): "read",
    ("POST", "/v1/episodic/search/batch"): "read",
    ("POST", "/v1/episodic/query"): "read",
    ("POST", "/v1/episodic/estimate"): "read",
    ("POST", "/v1/episodic/sample"): "read",
    ("PATCH", "/v1/episodic/{agent_id}/{id}"): "write",
    ("POST", "/v1/episodic/priorities"): "write",
    ("POST", "/v1/episodic/delete"): "write",
    ("POST", "/v1/episodic/{agent_id}/{id}/outcome"): "write",
    ("GET", "/v1/episodic/{agent_id}/map"): "read",
    ("GET", "/v1/episodic/{agent_id}/snapshot"): "read",
    ("GET", "/v1/episodic/{agent_id}/changes"): "read",
    ("GET", "/v1/episodic/{agent_id}/{id}"): "read",
    ("DELETE", "/v1/episodic/{agent_id}/{id}"): "write",
    ("POST", "/v1/semantic"): "write",
    ("POST", "/v1/semantic/batch"): "write",
    ("POST", "/v1/semantic/search"): "read",
    ("POST", "/v1/semantic/query"): "read",
    ("POST", "/v1/semantic/delete"): "write",
    ("GET", "/v1/semantic/{id}"): "read",
    ("PATCH", "/v1/semantic/{id}"): "write",
    ("DELETE", "/v1/semantic/{id}"): "write",
    ("POST", "/v1/retention"): "admin",
    ("GET", "/v1/whoami"): "read",
    ("GET", "/v1/live"): "read",
    ("GET", "/v1/agents"): "read",
    ("GET", "/v1/agents/{agent_id}"): "read",
    ("GET", "/v1/agents/{agent_id}/growth"): "read",
    ("POST", "/v1/agents/{agent_id}/move"): "admin",
    ("GET", "/v1/calibration"): "read",
    ("POST", "/v1/evaluate"): "read",
    ("GET", "/v1/evaluate/{id}"): "read",
    ("DELETE", "/v1/evaluate/{id}"): "read",
    ("POST", "/v1/decisions"): "write",
    ("POST", "/v1/decisions/{recall_id}/outcome"): "write",
    ("GET", "/v1/uplift"): "read",
    ("POST", "/v1/distances"): "write",
    ("GET", "/v1/distances"): "read",
    ("GET", "/v1/distances/{id}"): "read",
    ("DELETE", "/v1/distances/{id}"): "write",
    ("PUT", "/v1/distances/{id}/promotion"): "admin",
    ("DELETE", "/v1/distances/{id}/promotion"): "admin",
    ("GET", "/v1/stats"): "read",
    ("GET", "/v1/slow-queries"): "read",
    ("POST", "/mcp"): "read",  # tools that write ask for more (app/api/mcp/tools.py)
    ("GET", "/metrics"): "metrics",
    ("GET", "/livez"): OPEN,
    ("HEAD", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("HEAD", "/readyz"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/favicon.ico"): OPEN,
    ("GET", "/redoc"): OPEN,
    ("GET", "/console"): OPEN,
    ("GET", "/console/{file:path}"): OPEN,
    ("HEAD", "/console/{file:path}"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/oauth2-redirect"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("HEAD", "/openapi.json"): OPEN,
    ("GET", "/static-offline-docs/{file:path}"): OPEN,
    ("HEAD", "/static-offline-docs/{file:path}"): OPEN,
}

_PATTERNS = [
    (method, compile_path(template)[0], rule)
    for (method, template), rule in RULES.items()
    if "{" in template
]


def rule_of(method: str, path: str) -> Rule | None:
    """Return what a request requires of a key. None if there is no such route."""
    rule = RULES.get((method, path))
    if rule is not None:
        return rule
    for its_method, pattern, its_rule in _PATTERNS:
        if its_method == method and pattern.match(path):
            return its_rule
    return None


def methods_of(path: str) -> list[str]:
    """Return the methods with which a path is served."""
    methods = {method for method, template in RULES if template == path}
    return sorted(methods | {method for method, pattern, _ in _PATTERNS if pattern.match(path)})
