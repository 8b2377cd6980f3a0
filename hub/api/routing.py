"""Routes that nouns declare, as endpoints: each binds a request to its method and sends what it returns."""

import inspect
import re
from functools import cached_property
from types import UnionType
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from hub.api.binding import Binding, Call
from hub.api.deps import Seen, agent, operator
from hub.api.door.roles import AGENT, Asked
from hub.api.etags import Match, Matching
from hub.api.noun import Endpoint, Noun, Part, Route
from hub.api.paging import Paging, requested
from hub.coordination.authority import Caller


class RouteOf:
    """A route of a noun: answers its requests, and says what the document tells of it.

    Attributes:
        asked: its row in the table of roles.
        path: names of the path parameters.
    """

    def __init__(self, noun: type[Noun], declared: Route, method: Endpoint) -> None:
        self.noun, self.declared, self.method = noun, declared, method
        self.asked = Asked(declared.verb, noun.path + declared.path)
        self.path = re.findall(r"\{(\w+)\}", self.asked.path)

    @property
    def operation_id(self) -> str:
        """Return the name of the route in the document."""
        suffix = "_as_agent" if self.declared.need is AGENT else ""
        return f"{self.noun.name}_{self.method.__name__}{suffix}"

    @property
    def items_key(self) -> str:
        """Return the key of the items in a page of a list."""
        return self.noun.list_key or self.noun.name

    @property
    def returned(self) -> Any:
        """Return the type of the response, or of its items if it is a page of a list."""
        returned = inspect.signature(self.method).return_annotation
        return (
            get_args(returned)[0]
            if self.declared.key is not None or isinstance(returned, UnionType)
            else returned
        )

    @cached_property
    def binding(self) -> Binding:
        """Return the parameters of the method, and those that the declaration adds."""
        declared = self.declared
        own: dict[str, Any] = {}
        if self.noun.is_scoped and not declared.is_whole:
            own["_seen"] = Seen
        if declared.key is not None:
            own["_paging"] = Paging
        if declared.is_tagged and declared.verb != "GET":
            own["_match"] = Match
        caller = agent if declared.need is AGENT else operator
        return Binding(self.method, path=self.path, own=own, instead={Caller: caller, Part: requested})

    async def answer(self, call: Call) -> Response:
        """Return the response to a request. Raises HubError."""
        declared, headers = self.declared, call.head.headers
        given = await self.binding.arguments(call)
        seen, paging = given.pop("_seen", None), given.pop("_paging", None)
        noun = call.served.hub.noun(self.noun, seen)
        match: Matching | None = given.pop("_match", None)
        if match is not None and match.is_asked and self.path:
            names = given.keys() & inspect.signature(noun.get).parameters
            match.check(noun.tag_of(await noun.get(**{name: given[name] for name in names})))
        result = await getattr(noun, self.method.__name__)(**given)
        if isinstance(result, Response):
            return result
        if declared.is_tagged and declared.verb != "DELETE":
            headers["etag"] = noun.tag_of(result)
        if declared.location is not None:
            headers["location"] = quote(declared.location.format(result))
        if declared.is_secret:
            headers["cache-control"] = "no-store"
        if declared.key is not None:
            page = paging.fetched(result, key=declared.key)
            result = {self.items_key: page.items, "next_cursor": page.next_cursor}
        status = call.head.status or declared.status
        return Response(msgspec.json.encode(result), status, headers, "application/json")
