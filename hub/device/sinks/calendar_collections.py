"""Check of a CalDAV sink's address, and the writable calendars of its user."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Final
from urllib.parse import urljoin, urlsplit

from hub.base.printable import shortened
from hub.device.sinks.target import WrongPlace
from hub.device.sinks.web import PointsElsewhere, Web, origin_of
from hub.text.rows.row import TargetFailed
from hub.text.webdav import CAL, DAV, NotWebDav, WebDavResource, multistatus, propfind
from protocol.places import PLACE_CHARACTERS, FoundCalendar

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
_REFUSALS: Final = (303, 400, 403, 404, 405, 406, 409, 410, 415, 501)  # of what is no WebDAV
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
_MAX_FOUND: Final = 20
_MAX_FOLLOWED: Final = 4  # addresses of principals, and of homes, in one answer
_PAGES: Final = ("/index.php/", "/apps/", "/login/")  # of Nextcloud and ownCloud
_SERVERS: Final = {  # of pages that people have open
    **dict.fromkeys(("icloud.com", "www.icloud.com"), "https://caldav.icloud.com/"),
    **dict.fromkeys(("fastmail.com", "www.fastmail.com", "app.fastmail.com"), "https://caldav.fastmail.com/"),
}
_CLOSED: Final = (".google.com", ".googleusercontent.com")  # OAuth alone


def examine_collection(web: Web, url: str, kinds: Mapping[str, str]) -> None:
    """Check that an address is a calendar to which its user can write components of these *kinds*.

    Args:
        kinds: kinds of components by the names of the tables whose rows they are.

    Raises:
        WrongPlace: it is none; the message names the calendars that are, or those for some of the tables.
        TargetFailed: the server cannot be asked now.
    """
    host = urlsplit(url).hostname or ""
    if f".{host}".endswith(_CLOSED):
        raise WrongPlace(
            f"{url}: {host} takes no password from programs: choose a calendar of another server"
        )
    if host in _SERVERS:
        here, problem = None, "is a page for people"
    else:
        here, problem = _examined(web, url, kinds.values())
    if not problem:
        return
    tables = _tables_of(here, kinds)
    found = [] if tables else [*_choices(web, url, here, kinds)]
    fitting = [choice for choice in found if not choice.tables or len(choice.tables) == len(kinds)] or found
    named = " or ".join(map(_written, fitting[:_MAX_NAMED], repeat(len(kinds))))
    hint = f"write as url: {named}" if named else "no calendar there can be written to"
    hint = f"write {_setting(tables)}" if tables else hint
    raise WrongPlace(f"{url} {problem}; {hint}", found, tables, f"{url} {problem}")


def _examined(web: Web, url: str, kinds: Collection[str]) -> tuple[WebDavResource | None, str]:
    """Return the properties of an address, and why it is no calendar for *kinds*; empty if it is."""
    try:
        here = next(iter(_properties(web, url, accept=_REFUSALS)), None)
    except PointsElsewhere as elsewhere:
        return None, f"points to another server, {urlsplit(elsewhere.url).netloc}"
    return here, "is no calendar that this user can see" if here is None else _problem_of(here, kinds)


def _choices(
    web: Web, url: str, here: WebDavResource | None, kinds: Mapping[str, str]
) -> Iterator[FoundCalendar]:
    """Yield the first calendars of the user that take rows of some tables, and addresses of other servers."""
    count = 0
    with suppress(TargetFailed, ValueError):  # then those before it are named
        for calendar, resource in _calendars(web, url, here):
            tables = _tables_of(resource, kinds)
            if len(calendar) > PLACE_CHARACTERS or (resource is not None and kinds and not tables):
                continue
            name = "" if resource is None else resource.text(f"{DAV}displayname")[:200]
            yield FoundCalendar(url=calendar, name=name, tables=tables)
            if (count := count + 1) == _MAX_FOUND:
                return


def _written(calendar: FoundCalendar, most: int) -> str:
    """Return a calendar as device.toml has it, where it does not take the rows of all tables."""
    name = f" ({calendar.name!r})" if calendar.name else ""
    some = f" with {_setting(calendar.tables)}" if 0 < len(calendar.tables) < most else ""
    return f"{calendar.url}{name}{some}"


def _setting(tables: Sequence[str]) -> str:
    return f"tables = {json.dumps(tables)}"


def _properties(
    web: Web, url: str, depth: str = "0", accept: Collection[int] = (*_REFUSALS, 500)
) -> list[WebDavResource]:
    """Return the properties of a resource, or of those in it; none if the address is no WebDAV."""
    answer = web.ask("PROPFIND", url, _ASKED, {**XML, "Depth": depth}, accept)
    try:
        listed = multistatus(answer.body).resources if answer.status == 207 else []
        return [resource for resource in listed if resource.status in (None, 200)]
    except NotWebDav as error:
        raise TargetFailed(f"{web.host} answers wrongly: {error}") from error


def _problem_of(resource: WebDavResource, kinds: Collection[str]) -> str:
    """Return why a resource cannot be the place of a sink; empty if it can."""
    if _TYPES in resource.found and not resource.has(_TYPES, f"{CAL}calendar"):
        named = (words for name, words in _OTHER_TYPES.items() if resource.has(_TYPES, name))
        return f"is {next(named, 'something else')}, no calendar"
    components = resource.found.get(_COMPONENTS)
    names = () if components is None else (element.get("name", "").upper() for element in components)
    accepted = {*filter(None, names)}  # none: all kinds (RFC 4791, 5.2.3)
    if missing := sorted({kind for kind in kinds if accepted and kind not in accepted}):
        has = shortened(", ".join(sorted(accepted)[:_MAX_NAMED]))
        return f"has {has} alone, no {' or '.join(missing)}"
    privileges = resource.found.get(_PRIVILEGES)
    is_listed = privileges is not None and len(privileges) > 0
    if is_listed and not any(resource.has(_PRIVILEGES, f"{DAV}privilege/{DAV}{name}") for name in _WRITING):
        return "is read-only for this user"
    return ""


def _tables_of(resource: WebDavResource | None, kinds: Mapping[str, str]) -> list[str]:
    """Return those tables whose rows a calendar takes."""
    return [
        name for name, kind in kinds.items() if resource is not None and not _problem_of(resource, [kind])
    ]


def _calendars(
    web: Web, url: str, here: WebDavResource | None
) -> Iterator[tuple[str, WebDavResource | None]]:
    """Yield address and properties of a user's calendars, or the address of their folder at another host."""
    for start in _starts(url):
        try:
            found = _properties(web, start) if here is None or start != url else [here]
        except PointsElsewhere as elsewhere:  # that host gets no password unless the owner writes its address
            if _may_follow(url, elsewhere.url):
                yield elsewhere.url, None
            return
        principals = {urljoin(start, href) for resource in found for href in resource.hrefs(_PRINCIPAL)}
        for principal in sorted(principals)[:_MAX_FOLLOWED]:
            found += _properties(web, principal)
        homes = {urljoin(start, href) for resource in found for href in resource.hrefs(_HOMES)}
        for home in sorted(homes)[:_MAX_FOLLOWED] or ([start] if found else []):
            is_here = origin_of(home) == origin_of(url)
            if not is_here and _may_follow(url, home):  # nor does this one
                yield home, None
            for resource in _properties(web, home, "1") if is_here else ():
                calendar = urljoin(home, resource.href)
                if resource.has(_TYPES, f"{CAL}calendar") and origin_of(calendar) == origin_of(url):
                    yield calendar, resource
        if homes:
            return


def _may_follow(url: str, other: str) -> bool:
    """Return whether a server may send on to an address: to one with TLS, if it has TLS itself."""
    before, after = origin_of(url), origin_of(other)
    return after is not None and (before is None or before.scheme != "https" or after.scheme == "https")


def _starts(url: str) -> Iterator[str]:
    """Yield addresses at which a server may say where the calendars of a user are."""
    if known := _SERVERS.get(urlsplit(url).hostname or ""):
        yield known
        return
    yield url
    for part in _PAGES:
        if part in url:
            yield f"{url.partition(part)[0]}/remote.php/dav/"
            break
    yield urljoin(url, "/.well-known/caldav")
    yield urljoin(url, "/")
