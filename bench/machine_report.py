"""The section that every report ends with."""

from bench.machine import Machine
from bench.report import Section, Table


def machine_section(machine: Machine, versions: dict[str, str]) -> Section:
    """Return the section that says where the figures come from."""
    return Section(
        "Machine and versions",
        (
            f"{machine.sentence}. Commit {machine.commit}.",
            f"Load average when the run began: {machine.load_average:.2f}. The load generator, the "
            "service and Redis share these processors; what else was at work on them shows in the "
            "tails first.",
            Table(("package", "version"), tuple(versions.items())),
        ),
    )
