"""Commands stand in the audit log under the user who ran them."""

import os
from dataclasses import replace

from app.access import SERVICE, caller
from app.audit import Audit
from app.settings import Settings


def audit_of_command(settings: Settings) -> Audit:
    """The audit log, with this command's user as the caller from now on."""
    act_as_user()
    return Audit(settings.audit_file, syncs=settings.audit_fsync)


def act_as_user() -> None:
    """Make the operating system's user the caller."""
    caller.set(replace(SERVICE, key_id=f"command of uid {os.getuid()}"))
