"""Do the Sentinels agree, and are there enough of them to replace a master?"""

from app.settings import Settings
from app.storage.finding import Finding
from app.storage.sentinel import configured_views

PART = "sentinel"
FEWEST = 3


async def check_sentinels(settings: Settings) -> list[Finding]:
    """One finding for each Sentinel that is wrong, or one for all; none where there are none."""
    views = await configured_views(settings)
    if not views:
        return []
    newest = max((view.epoch for _, view in views if view is not None), default=0)
    problems = [
        f"The Sentinel {address} does not answer or knows no {settings.sentinel_master}: see its "
        "log."
        for address, view in views
        if view is None
    ]
    problems += [
        f"The Sentinel {address} names another master, as of an earlier failover: see whether it "
        "reaches the others."
        for address, view in views
        if view is not None and view.epoch < newest
    ]
    if len(views) < FEWEST:
        problems.append(
            f"{len(views)} Sentinels cannot outvote one that is lost: run 3, on 3 machines."
        )
    agreed = f"{len(views)} Sentinels agree on the master of {settings.sentinel_master}"
    return [Finding("problem", PART, text) for text in problems] or [Finding("ok", PART, agreed)]
