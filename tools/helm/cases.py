"""Values to render the chart with, and values that it must refuse."""

from typing import Any

Values = dict[str, Any]

CASES: dict[str, Values] = {
    "external": {"redis": {"external": {"url": "redis://:secret@redis.example:6379/0"}}},
    "external-secret": {"redis": {"external": {"existingSecret": "our-redis"}}},
    "external-sentinels": {
        "redis": {
            "external": {
                "sentinelUrls": ["redis://s1:26379", "redis://s2:26379"],
                "password": "secret",
            }
        },
        "autoscaling": {"enabled": False},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "external-groups": {
        "redis": {
            "external": {
                "groups": [
                    {"name": "a", "urls": ["redis://a1:6379", "redis://a2:6379"]},
                    {"name": "b", "urls": ["redis://b1:6379"]},
                    {
                        "name": "c",
                        "sentinels": ["redis://s1:26379"],
                        "master": "main-c",
                        "weight": 2,
                    },
                ]
            }
        }
    },
    "own-redis": {"redis": {"mode": "statefulset", "password": "secret"}},
    "own-three-groups": {
        "redis": {
            "mode": "statefulset",
            "existingSecret": "redis-password",
            "groups": [{"name": "a"}, {"name": "b"}, {"name": "c", "weight": 2}],
            "storageClass": "fast",
        }
    },
    "watched": {
        "redis": {"external": {"url": "redis://redis.example:6379/0"}},
        "serviceMonitor": {"enabled": True, "existingSecret": "metrics-key"},
        "prometheusRule": {"enabled": True, "runbookBase": "https://git.example/memory"},
        "autoscaling": {"enabled": True, "requestsPerSecond": 1500},
        "apiKeysFile": {"existingSecret": "api-keys"},
        "settings": {"MEMORY_AUTH": "file", "MEMORY_CACHE_TTL_S": 30},
        "extraSecret": "more",
        "podAnnotations": {"team": "agents"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "memory", "operator": "Exists"}],
    },
}

_EXTERNAL = {"external": {"url": "redis://redis.example:6379/0"}}
REFUSED: dict[str, tuple[Values, str]] = {
    "no Redis": ({}, "Name the Redis"),
    "no password": ({"redis": {"mode": "statefulset"}}, "redis.password"),
    "two ways to Redis": (
        {"redis": {"external": {"url": "redis://a", "sentinelUrls": ["redis://s"]}}},
        "Give one of",
    ),
    "a misspelt name": ({"redis": _EXTERNAL, "replica": 3}, "replica"),
    "a secret among the settings": (
        {"redis": _EXTERNAL, "settings": {"MEMORY_REDIS_URL": "redis://a"}},
        "MEMORY_REDIS_URL",
    ),
    "a group at two places": (
        {
            "redis": {
                "external": {"groups": [{"name": "a", "urls": ["redis://a"], "sentinels": []}]}
            }
        },
        "groups",
    ),
    "a password that breaks addresses": (
        {"redis": {"mode": "statefulset", "password": "a/b@c"}},
        "password",
    ),
    "metrics that nobody may read": (
        {"redis": _EXTERNAL, "serviceMonitor": {"enabled": True}},
        "GET /metrics asks for a key",
    ),
}
