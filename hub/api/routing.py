"""Builds the routes that nouns declare: endpoints that take the hub from the request and call the noun."""

import inspect
import re
from collections.abc import Sequence
from functools import cache
from types import UnionType
from typing import Any, get_args

from fastapi import APIRouter, Depends, Response
from pydantic import create_model

from hub.api.deps import AnAgent, AnOperator, Hub, NounRouter, WholeHub
from hub.api.door.routes import AGENT
from hub.api.errors import refusals
from hub.api.etags import Match, Matching
from hub.api.noun import Endpoint, Noun, Route
from hub.api.paging import Paging
from hub.api.view import View
from hub.coordination.authority import Caller


def router_of(noun: type[Noun]) -> APIRouter:
    """Build the routes of a noun."""
    router = NounRouter(prefix=noun.path, tags=[noun.name])
    for declared, method in noun.routes():
        errors = dict.fromkeys((*noun.errors, *declared.errors))
        also: dict[int | str, dict[str, Any]] = {
            one: {"model": _returned_by(method)} for one in declared.also
        }
        router.add_api_route(
            declared.path,
            _endpoint(noun, declared, method),
            methods=[declared.verb],
            status_code=declared.status,
            responses={**declared.responses, **also, **refusals(*errors)},
            operation_id=f"{noun.name}_{method.__name__}" + ("_as_agent" if declared.need is AGENT else ""),
            dependencies=[Depends(_no_store)] if declared.is_secret else [],
            **_response_of(method),
        )
    return router


def _returned_by(method: Endpoint) -> Any:
    return inspect.signature(method).return_annotation


def _response_of(method: Endpoint) -> dict[str, Any]:
    """Return options for a method that returns a stream, or (``Model | EventStream``) may return one."""
    returned = _returned_by(method)
    if isinstance(returned, UnionType):
        model, other = get_args(returned)
        return {"response_model": model} if issubclass(other, Response) else {}
    is_response = isinstance(returned, type) and issubclass(returned, Response)
    return {"response_class": returned} if is_response else {}


def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"


def _endpoint(noun: type[Noun], declared: Route, method: Endpoint) -> Endpoint:
    own: dict[str, Any] = {"hub": Hub if noun.is_scoped and not declared.is_whole else WholeHub}
    if declared.key is not None:
        return _pages(noun, declared, method, own)
    if declared.is_tagged:
        own["match"] = Match
    if declared.location is not None:
        own["answer"] = Response
    named = re.search(r"\{(\w+)\}", noun.path + declared.path)

    async def endpoint(**given: Any) -> Any:
        seen = given.pop("hub").noun(noun)
        match: Matching | None = given.pop("match") if declared.is_tagged else None
        answer: Response | None = given.pop("answer") if declared.location is not None else None
        if match is not None and match.is_asked and named is not None and declared.verb != "GET":
            match.check(seen.tag_of(await seen.get(given[named[1]])))
        item = await getattr(seen, method.__name__)(**given)
        if match is not None and declared.verb != "DELETE":
            match.tell(seen.tag_of(item))
        if answer is not None and declared.location is not None:
            answer.headers["location"] = declared.location.format(item)
        return item

    return _with_parameters(endpoint, declared, method, _returned_by(method), own)


def _pages(noun: type[Noun], declared: Route, method: Endpoint, own: dict[str, Any]) -> Endpoint:
    (item,) = get_args(_returned_by(method))
    items_key, key = noun.list_key or noun.name, declared.key
    envelope = _envelope(noun.__name__, items_key, item)
    assert key is not None

    async def endpoint(hub: Any, paging: Any, **given: Any) -> Any:
        found: Sequence[Any] = await getattr(hub.noun(noun), method.__name__)(**given)
        page = paging.cut(sorted(found, key=key), key=key)
        return envelope(**{items_key: page.items, "next_cursor": page.next_cursor})

    return _with_parameters(endpoint, declared, method, envelope, own | {"paging": Paging})


@cache  # one schema, also where a method answers at several routes
def _envelope(title: str, items_key: str, item: Any) -> type[View]:
    items: Any = tuple.__class_getitem__((item, ...))
    fields: dict[str, Any] = {items_key: (items, ...), "next_cursor": (str | None, None)}
    words = f"A page of {items_key}; *next_cursor* leads to the next one."
    return create_model(title, __base__=View, __doc__=words, **fields)


def _with_parameters(
    endpoint: Endpoint, declared: Route, method: Endpoint, response: Any, own: dict[str, Any]
) -> Endpoint:
    """Give *endpoint* the parameters of *method* in addition to its *own*, where FastAPI reads them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    _, *others = inspect.signature(method).parameters.values()
    parameters = [inspect.Parameter(name, keyword, annotation=kind) for name, kind in own.items()]
    caller = AnAgent if declared.need is AGENT else AnOperator
    for one in others:
        annotation = caller if one.annotation is Caller else one.annotation
        parameters.append(one.replace(kind=keyword, annotation=annotation))
    endpoint.__name__, endpoint.__doc__ = method.__name__, method.__doc__
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=response)  # type: ignore[attr-defined]
    return endpoint
