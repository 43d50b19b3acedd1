"""Where the parts run: all on loopback, or each in a network namespace of its own."""

from app.embedded.node import LOOPBACK


class Network:
    """Loopback: nothing can be cut."""

    def host_of(self, name: str) -> str:
        """The address of a part."""
        return LOOPBACK

    def runner_of(self, name: str) -> tuple[str, ...]:
        """Words before a command that run it where the part is."""
        return ()

    def cut(self, side: list[str], other: list[str]) -> None:
        """Let nothing through between two sides, without a word to either."""
        raise NotImplementedError("loopback cannot be cut: use namespaces")

    def heal(self) -> None:
        """Take every cut back."""


LOOPBACK_NETWORK = Network()
