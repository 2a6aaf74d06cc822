"""What a newcomer is told: what to type next."""

from __future__ import annotations

import shlex

from gateway.settings import Settings
from gateway.tenants.registry import open_registry

FIRST_STEPS = (
    "stats-gateway demo                # see it work; needs nothing set up",
    "stats-gateway tenant add reports --institution lboro --username lboro",
    "stats-gateway key add reports     # prints the key that applications send",
    "stats-gateway serve               # then change the application's base URL",
    "stats-gateway doctor              # is everything as it should be?",
)

NO_TENANTS = """\
NOTE: there are no tenants yet, so {consequence}. In another terminal type, with your own names:
  stats-gateway tenant add reports --institution lboro --username lboro{place}
  stats-gateway key add reports{place}
NOTE: the password is asked for; running gateways follow within a second or two."""


def missing(settings: Settings) -> list[str]:
    """What a gateway with these settings lacks to be of use, and how to add it.

    Raises ConfigurationError for a registry that cannot be read.
    """
    if settings.profile == "generic" or open_registry(settings).store.read():
        return []
    consequence = "only public queries are answered" if settings.allow_anonymous else "every request is refused"
    path = settings.registry_file
    place = "" if path is None else f" --registry {shlex.quote(str(path.absolute()))}"
    return [NO_TENANTS.format(consequence=consequence, place=place)]
