"""All applications at one moment, and the ways to find those that a token may be of."""

import dataclasses
import functools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from datafor_token import logs
from datafor_token.applications import Application
from datafor_token.errors import RecordDamaged
from datafor_token.names import fold
from datafor_token.store.kept import Named

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Listing:
    """All applications that can be read, sorted by name, and the names of the records that cannot."""

    applications: Sequence[Application]
    damaged: Sequence[str]

    @functools.cached_property
    def by_token_name(self) -> Mapping[str, "Listing"]:
        """The enabled applications whose tokens come under each name in a URL."""
        found: dict[str, list[Application]] = {}
        for application in self.applications:
            if application.enable:
                found.setdefault(application.token_name, []).append(application)
        return {name: Listing(applications, ()) for name, applications in found.items()}

    def candidates(self, algorithm: str, claims: Collection[str]) -> Sequence[Application]:
        """The applications that could accept a token of that algorithm with these claims, in their order."""
        lists = [found for claim in claims if (found := self._by_claim.get((algorithm, claim))) is not None]
        if len(lists) <= 1:
            return lists[0] if lists else ()
        return sorted((application for found in lists for application in found), key=lambda one: fold(one.name))

    @functools.cached_property
    def _by_claim(self) -> Mapping[tuple[str, str], Sequence[Application]]:
        found: dict[tuple[str, str], list[Application]] = {}
        for application in self.applications:
            if application.enable:
                found.setdefault((application.algorithm, application.fieldmap.username), []).append(application)
        return found


NOBODY = Listing((), ())


def listing_of(found: Iterable[Named[Application]]) -> Listing:
    """What there is, of the records as they were read."""
    applications, damaged = [], []
    for name, one in found:
        if isinstance(one, RecordDamaged):
            damaged.append(name)
            log.warning(logs.event(event="record damaged", reason=one.reason))
        else:
            applications.append(one)
    return Listing(sorted(applications, key=lambda one: fold(one.name)), sorted(damaged))
