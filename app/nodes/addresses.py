"""The addresses of Redis.

MEMORY_GROUPS names groups as compact text or as JSON:

    a=redis://h1:6379,redis://h2:6379; b*2=main@redis://s1:26379,redis://s2:26379
    [{"name": "a", "urls": ["redis://h1:6379"]},
     {"name": "b", "sentinels": ["redis://s1:26379"], "master": "main", "weight": 2}]
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import ConfigurationError
from app.settings import Settings

_URL = re.compile(r"(redis|rediss|unix)://.+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMPACT = re.compile(
    r"(?P<name>[^*=]+)(?:\*(?P<weight>[^=]+))?=(?:(?P<master>[^@:/,]+)@(?=redis))?(?P<urls>.+)",
    re.S,
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Either `nodes`, the master first and then its replicas, or the `sentinels` that know them, or
    several `groups` of these.

    `master_name` is the Sentinels' name for the master.
    """

    nodes: tuple[str, ...] = ()
    sentinels: tuple[str, ...] = ()
    master_name: str = ""
    groups: "tuple[GroupAddresses, ...]" = ()

    @property
    def has_replicas(self) -> bool:
        """Return whether there are, or may be, replicas."""
        return len(self.nodes) != 1

    @property
    def parts(self) -> "Mapping[str, Addresses]":
        """Return each group's addresses by its name; without groups, these by the empty name."""
        return {group.name: group.addresses for group in self.groups} or {"": self}

    def as_settings(self) -> dict[str, str]:
        """Return the settings with which another process connects to these addresses."""
        if self.groups:
            return {"GROUPS": json.dumps([group.as_json() for group in self.groups])}
        if self.sentinels:
            return {"SENTINEL_URLS": ",".join(self.sentinels), "SENTINEL_MASTER": self.master_name}
        return {"REDIS_URL": self.nodes[0], "REPLICA_URLS": ",".join(self.nodes[1:])}


@dataclass(frozen=True, slots=True)
class GroupAddresses:
    """Where one group is. A group of twice the weight gets twice the agents."""

    name: str
    addresses: Addresses
    weight: float = 1.0

    def as_json(self) -> dict[str, object]:
        """Return the form that MEMORY_GROUPS has."""
        where = self.addresses
        found: dict[str, object] = {"name": self.name, "weight": self.weight}
        if where.sentinels:
            return found | {"sentinels": where.sentinels, "master": where.master_name}
        return found | {"urls": where.nodes}


def configured_addresses(settings: Settings) -> Addresses | None:
    """Return the addresses in the settings. None if the embedded Redis should be started.

    Raise ConfigurationError if MEMORY_GROUPS cannot be read.
    """
    if settings.groups is not None:
        return Addresses(groups=parse_groups(settings.groups.get_secret_value()))
    if settings.sentinel_urls:
        sentinels = tuple(url.get_secret_value() for url in settings.sentinel_urls)
        return Addresses(sentinels=sentinels, master_name=settings.sentinel_master)
    if settings.redis_url is not None:
        urls = (settings.redis_url, *settings.replica_urls)
        return Addresses(nodes=tuple(url.get_secret_value() for url in urls))
    return None


def parse_groups(text: str) -> tuple[GroupAddresses, ...]:
    """Return the groups that MEMORY_GROUPS names, in its order. Raise ConfigurationError."""
    items = _json(text) if text.lstrip().startswith("[") else _compact(text)
    groups = tuple(_group(item) for item in items)
    names = [group.name for group in groups]
    if not groups:
        raise _wrong("it names no group")
    if len(set(names)) < len(names):
        raise _wrong("two groups have the same name")
    return groups


def _json(text: str) -> Sequence[Mapping[str, Any]]:
    try:
        items = json.loads(text)
    except ValueError as error:
        raise _wrong("it begins as JSON and is none") from error
    if not all(isinstance(item, dict) for item in items):
        raise _wrong("each group must be a JSON object")
    return list(items)


def _compact(text: str) -> Sequence[Mapping[str, Any]]:
    items = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        found = _COMPACT.fullmatch(part)
        if found is None:
            raise _wrong("a group must be written as name=redis://host:port")
        urls = [url.strip() for url in found["urls"].split(",") if url.strip()]
        item: dict[str, Any] = {"name": found["name"].strip(), "weight": found["weight"] or 1}
        if found["master"]:
            item |= {"sentinels": urls, "master": found["master"].strip()}
        else:
            item["urls"] = urls
        items.append(item)
    return items


def _group(item: Mapping[str, Any]) -> GroupAddresses:
    """Return one group. No sentence repeats an address, which may hold a password."""
    name = item.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong("a group's name must be 1 to 64 letters, digits, dots, dashes or underscores")
    unknown = set(item) - {"name", "urls", "sentinels", "master", "weight"}
    if unknown:
        raise _wrong(f"group {name} has an unknown field: {min(unknown)}")
    try:
        weight = float(item.get("weight", 1))
    except (TypeError, ValueError) as error:
        raise _wrong(f"the weight of group {name} must be a number") from error
    if not 0 < weight <= 1000:
        raise _wrong(f"the weight of group {name} must be above 0 and at most 1000")
    urls, sentinels = item.get("urls", []), item.get("sentinels", [])
    if bool(urls) == bool(sentinels):
        raise _wrong(f"group {name} needs either urls or sentinels")
    for url in (*urls, *sentinels):
        if not isinstance(url, str) or not _URL.fullmatch(url):
            raise _wrong(f"an address of group {name} does not start with redis://")
    if urls:
        return GroupAddresses(name, Addresses(nodes=tuple(urls)), weight)
    master = str(item.get("master") or name)
    return GroupAddresses(name, Addresses(sentinels=tuple(sentinels), master_name=master), weight)


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"Setting MEMORY_GROUPS is wrong: {what}.")
