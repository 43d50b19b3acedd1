"""API keys: how one is created, what is stored of it, and the table that requests are checked
against.

A key is `cm_ID_SECRET`. ID (48 random bits) finds the record. SECRET is 256 random bits; only the
SHA-256 of the whole key is stored. A slow hash (bcrypt, Argon2) would not help: it makes guessing
expensive where people choose the secret, but nobody can guess 256 random bits, and every request
would pay for it.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from pydantic import BaseModel, ConfigDict, Field

from app.auth.caller import Limits, Principal, Role, agents_pattern
from app.contract.fields import AgentId

_KEY = re.compile(rb"cm_([0-9a-f]{12})_[0-9a-f]{64}")
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+) *")
_NOBODY = bytes(32)


class KeyRecord(BaseModel):
    """What is stored of a key. Times are unix seconds. Without agents it covers all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: Role
    agents: tuple[AgentId, ...] = ()
    agent_patterns: tuple[AgentId, ...] = ()
    cross_agent: bool = False
    semantic_write: bool = False
    require_as_of: bool = False
    limits: Limits = Limits()
    note: str = Field("", max_length=200)
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_valid_at(self, now: float) -> bool:
        """Return whether the key may be used at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def principal(self, defaults: Limits) -> Principal:
        """Return the key's caller. `defaults` are the limits that the key does not set."""
        own = {name: n for name, n in asdict(self.limits).items() if n is not None}
        return Principal(
            key_id=self.id,
            role=self.role,
            agents=agents_pattern(self.agents, self.agent_patterns),
            agent_names=self.agents,
            agent_patterns=self.agent_patterns,
            cross_agent=self.cross_agent,
            semantic_write=self.semantic_write,
            require_as_of=self.require_as_of,
            limits=replace(defaults, **own),
        )


LIMIT_NAMES = tuple(one.name for one in fields(Limits))


def new_key() -> tuple[str, str, str]:
    """Return a new key, its id, and the hash that is stored."""
    key_id = secrets.token_hex(6)
    key = f"cm_{key_id}_{secrets.token_hex(32)}"
    return key, key_id, hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    expires_at: float
    principal: Principal


class KeyRing:
    """The keys that this process knows.

    While `is_required` is False, the service asks for no key. Once True it stays True, so that
    neither revoking the last key nor losing the records opens the service.
    """

    def __init__(self, *, is_required: bool, defaults: Limits | None = None) -> None:
        self.is_required = is_required
        self._defaults = defaults or Limits()
        self._entries: dict[bytes, _Entry] = {}

    def require_keys(self) -> None:
        """Ask for a key from now on."""
        self.is_required = True

    def replace(self, records: Iterable[KeyRecord]) -> None:
        """Replace all known keys by these records, without the revoked ones."""
        now = time.time()
        self._entries = {
            record.id.encode(): _Entry(
                bytes.fromhex(record.sha256),
                float("inf") if record.expires_at is None else record.expires_at,
                record.principal(self._defaults),
            )
            for record in records
            if record.is_valid_at(now)
        }

    def find(self, authorization: bytes) -> Principal | None:
        """Return the caller that an Authorization header names. None if it holds no valid key."""
        bearer = _BEARER.fullmatch(authorization)
        key = _KEY.fullmatch(bearer[1]) if bearer else None
        if key is None:
            return None
        entry = self._entries.get(key[1])
        given = hashlib.sha256(key[0]).digest()
        if not hmac.compare_digest(given, _NOBODY if entry is None else entry.digest):
            return None
        return entry.principal if entry is not None and time.time() < entry.expires_at else None
