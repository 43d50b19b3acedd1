"""The addresses of Redis."""

from dataclasses import dataclass

from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """Either `nodes`, the master first and then its replicas, or the `sentinels` that know them.

    `master_name` is the Sentinels' name for the master.
    """

    nodes: tuple[str, ...] = ()
    sentinels: tuple[str, ...] = ()
    master_name: str = ""

    @property
    def has_replicas(self) -> bool:
        """Return whether there are, or may be, replicas."""
        return len(self.nodes) != 1

    def as_settings(self) -> dict[str, str]:
        """Return the settings with which another process connects to these addresses."""
        if self.sentinels:
            return {"SENTINEL_URLS": ",".join(self.sentinels), "SENTINEL_MASTER": self.master_name}
        return {"REDIS_URL": self.nodes[0], "REPLICA_URLS": ",".join(self.nodes[1:])}


def configured_addresses(settings: Settings) -> Addresses | None:
    """Return the addresses in the settings. None if the embedded Redis should be started."""
    if settings.sentinel_urls:
        sentinels = tuple(url.get_secret_value() for url in settings.sentinel_urls)
        return Addresses(sentinels=sentinels, master_name=settings.sentinel_master)
    if settings.redis_url is not None:
        urls = (settings.redis_url, *settings.replica_urls)
        return Addresses(nodes=tuple(url.get_secret_value() for url in urls))
    return None
