"""Check of a CalDAV sink's address, and the writable calendars of its user."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urljoin, urlsplit

from hub.base.printable import shortened
from hub.device.sinks.target import WrongPlace
from hub.device.sinks.web import Web
from hub.text.rows.row import TargetFailed
from hub.text.webdav import CAL, DAV, NotWebDav, WebDavResource, multistatus, propfind

XML: Final = {"Content-Type": "application/xml; charset=utf-8"}
_ASKED: Final = propfind(
    "d:resourcetype",
    "d:displayname",
    "d:current-user-privilege-set",
    "d:current-user-principal",
    "c:supported-calendar-component-set",
    "c:calendar-home-set",
)
_TYPES: Final = f"{DAV}resourcetype"
_COMPONENTS: Final = f"{CAL}supported-calendar-component-set"
_PRIVILEGES: Final = f"{DAV}current-user-privilege-set"
_WRITING: Final = ("all", "write", "bind", "write-content")
_REFUSALS: Final = (400, 403, 404, 405, 406, 409, 410, 415, 501)  # of what is no WebDAV
_OTHER_TYPES: Final = {  # by the element in resourcetype
    f"{DAV}principal": "a user's own address (principal)",
    "{urn:ietf:params:xml:ns:carddav}addressbook": "an address book",
    "{http://calendarserver.org/ns/}subscribed": "a subscribed calendar, which another server fills",
    f"{CAL}schedule-inbox": "an inbox of invitations",
    f"{CAL}schedule-outbox": "an outbox of invitations",
    f"{DAV}collection": "a folder of calendars",
}
_HOMES: Final = f"{CAL}calendar-home-set"
_PRINCIPAL: Final = f"{DAV}current-user-principal"
_MAX_NAMED: Final = 8
_MAX_FOLLOWED: Final = 4  # addresses of principals, and of homes, in one answer
_MAX_CHARS: Final = 2_000  # of an address that is named


def examine_collection(web: Web, url: str, kinds: Mapping[str, str]) -> None:
    """Check that an address is a calendar to which its user can write components of these *kinds*.

    Args:
        kinds: kinds of components by the names of the tables whose rows they are.

    Raises:
        WrongPlace: it is none; the message names the calendars that are, or those for some of the tables.
        TargetFailed: the server cannot be asked now.
    """
    here = next(iter(_properties(web, url, accept=_REFUSALS)), None)
    problem = "is no calendar that this user can see" if here is None else _problem_of(here, kinds.values())
    if problem:
        fitting: dict[str, None] = {}
        for_some: dict[str, None] = {}
        with suppress(TargetFailed, ValueError):  # then those before it are named
            for calendar, resource in _calendars(web, url, here):
                if len(fitting) == _MAX_NAMED:
                    break
                if len(calendar) > _MAX_CHARS:
                    continue
                if resource is None or not _problem_of(resource, kinds.values()):
                    fitting[calendar] = None
                elif len(for_some) < _MAX_NAMED and (tables := _tables_of(resource, kinds)):
                    for_some[f"{calendar} with {tables}"] = None
        here_tables = "" if here is None else _tables_of(here, kinds)
        others = fitting or ({} if here_tables else for_some)
        named = " or ".join(others)
        hints = [f"write as url: {named}"] if named else []
        hints += [f"write {here_tables}"] if here_tables else []
        hint = ", or ".join(hints) or "no calendar there can be written to"
        raise WrongPlace(f"{url} {problem}; {hint}", [*fitting])


def _properties(
    web: Web, url: str, depth: str = "0", accept: Collection[int] = (*_REFUSALS, 500)
) -> list[WebDavResource]:
    """Return the properties of a resource, or of those in it; none if the address is no WebDAV."""
    answer = web.ask("PROPFIND", url, _ASKED, {**XML, "Depth": depth}, accept)
    try:
        listed = multistatus(answer.body).resources if answer.status == 207 else []
        return [resource for resource in listed if resource.status in (None, 200)]
    except NotWebDav as error:
        raise TargetFailed(f"{web.host} answers wrongly: {error}; the next attempt follows") from error


def _problem_of(resource: WebDavResource, kinds: Collection[str]) -> str:
    """Return why a resource cannot be the place of a sink; empty if it can."""
    if _TYPES in resource.found and not resource.has(_TYPES, f"{CAL}calendar"):
        named = (words for name, words in _OTHER_TYPES.items() if resource.has(_TYPES, name))
        return f"is {next(named, 'something else')}, no calendar"
    components = resource.found.get(_COMPONENTS)
    accepted = {} if components is None else {element.get("name", "").upper() for element in components}
    if missing := sorted({kind for kind in kinds if accepted and kind not in accepted}):
        has = shortened(", ".join(sorted(accepted)[:_MAX_NAMED]))
        return f"has {has} alone, no {' or '.join(missing)}"
    privileges = resource.found.get(_PRIVILEGES)
    is_listed = privileges is not None and len(privileges) > 0
    if is_listed and not any(resource.has(_PRIVILEGES, f"{DAV}privilege/{DAV}{name}") for name in _WRITING):
        return "is read-only for this user"
    return ""


def _tables_of(resource: WebDavResource, kinds: Mapping[str, str]) -> str:
    """Return the setting with those tables whose rows a calendar takes; empty if there is none."""
    fitting = [name for name, kind in kinds.items() if not _problem_of(resource, [kind])]
    return f"tables = {json.dumps(fitting)}" if fitting else ""


def _calendars(
    web: Web, url: str, here: WebDavResource | None
) -> Iterator[tuple[str, WebDavResource | None]]:
    """Yield address and properties of a user's calendars, or the address of their folder at another host."""
    for start in (url, urljoin(url, "/"), urljoin(url, "/.well-known/caldav")):
        found = _properties(web, start) if here is None or start != url else [here]
        principals = {urljoin(start, href) for resource in found for href in resource.hrefs(_PRINCIPAL)}
        for principal in sorted(principals)[:_MAX_FOLLOWED]:
            found += _properties(web, principal)
        homes = {urljoin(start, href) for resource in found for href in resource.hrefs(_HOMES)}
        for home in sorted(homes)[:_MAX_FOLLOWED] or ([start] if found else []):
            is_here = urlsplit(home)[:2] == urlsplit(url)[:2]
            if not is_here:  # that host gets no password unless the owner writes its address
                yield home, None
            for resource in _properties(web, home, "1") if is_here else ():
                if resource.has(_TYPES, f"{CAL}calendar"):
                    name = resource.text(f"{DAV}displayname")
                    yield urljoin(home, resource.href) + (f" ({name!r})" if name else ""), resource
        if homes:
            return
