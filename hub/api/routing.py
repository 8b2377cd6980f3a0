"""Routes that nouns declare, as endpoints: each binds a request to its method and sends what it returns."""

import inspect
import re
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, get_args
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from hub.api.binding import Binding, Call, From
from hub.api.deps import agent, operator, scoped_hub, whole_hub
from hub.api.door.roles import AGENT, Asked
from hub.api.etags import Match
from hub.api.noun import Endpoint, Noun, Part, Route
from hub.api.paging import Paging, requested
from hub.coordination.authority import Caller


class Json(Response):
    """A value as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


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
        whole = declared.is_whole or not self.noun.is_scoped
        own: dict[str, Any] = {"_hub": Annotated[Any, From(whole_hub if whole else scoped_hub)]}
        if declared.key is not None:
            own["_paging"] = Paging
        if declared.is_tagged:
            own["_match"] = Match
        caller = agent if declared.need is AGENT else operator
        return Binding(self.method, path=self.path, own=own, instead={Caller: caller, Part: requested})

    async def answer(self, call: Call) -> Response:
        """Return the response to a request. Raises HubError."""
        declared, head = self.declared, call.head
        given = await self.binding.arguments(call)
        noun = given.pop("_hub").noun(self.noun)
        paging, match = given.pop("_paging", None), given.pop("_match", None)
        if match is not None and match.is_asked and self.path and declared.verb != "GET":
            match.check(noun.tag_of(await noun.get(given[self.path[0]])))
        result = await getattr(noun, self.method.__name__)(**given)
        if isinstance(result, Response):
            return result
        if match is not None and declared.verb != "DELETE":
            match.tell(noun.tag_of(result))
        if declared.location is not None:
            head.headers["location"] = quote(declared.location.format(result))
        if declared.is_secret:
            head.headers["cache-control"] = "no-store"
        if declared.key is not None:
            page = paging.fetched(result, key=declared.key)
            result = {self.items_key: page.items, "next_cursor": page.next_cursor}
        return Json(result, head.status or declared.status, head.headers)
