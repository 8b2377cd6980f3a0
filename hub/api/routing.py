"""Builds the routes that nouns declare: endpoints that take the hub from the request and call the noun."""

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args

from fastapi import APIRouter
from pydantic import create_model

from hub.api.deps import AnAgent, AnOperator, Hub, NounRouter, WholeHub
from hub.api.door.routes import AGENT, declare
from hub.api.errors import refusals
from hub.api.noun import Endpoint, Noun, Route
from hub.api.paging import Paging
from hub.api.views.view import View
from hub.coordination.authority import Caller


def router_of(noun: type[Noun]) -> APIRouter:
    """Build the routes of a noun, and enter each in the table of roles."""
    router = NounRouter(prefix=noun.path, tags=[noun.name])
    for declared, method in noun.routes():
        declare(declared.verb, noun.path + declared.path, declared.need)
        router.add_api_route(
            declared.path,
            _endpoint(noun, method, declared) if declared.key is None else _pages(noun, method, declared),
            methods=[declared.verb],
            status_code=declared.status,
            responses=refusals(*dict.fromkeys((*noun.errors, *declared.errors))),
            operation_id=f"{noun.name}_{method.__name__}" + ("_as_agent" if declared.need is AGENT else ""),
        )
    return router


def _endpoint(noun: type[Noun], method: Endpoint, declared: Route) -> Endpoint:
    async def endpoint(hub: Any, **given: Any) -> Any:
        return await method(hub.noun(noun), **given)

    response = inspect.signature(method).return_annotation
    return _with_parameters(endpoint, method, declared, response, hub=_hub_of(noun))


def _pages(noun: type[Noun], method: Endpoint, declared: Route) -> Endpoint:
    (item,) = get_args(inspect.signature(method).return_annotation)
    envelope, key = _envelope(noun.__name__, noun.name, item), declared.key
    assert key is not None

    async def endpoint(hub: Any, paging: Any, **given: Any) -> Any:
        found: Sequence[Any] = await method(hub.noun(noun), **given)
        page = paging.cut(sorted(found, key=key), key=key)
        return envelope(**{noun.name: page.items, "next_cursor": page.next_cursor})

    return _with_parameters(endpoint, method, declared, envelope, hub=_hub_of(noun), paging=Paging)


@cache  # one schema, also where a method answers at several routes
def _envelope(title: str, name: str, item: Any) -> type[View]:
    items: Any = tuple.__class_getitem__((item, ...))
    fields: dict[str, Any] = {name: (items, ...), "next_cursor": (str | None, None)}
    words = f"A page of {name}; *next_cursor* leads to the next one."
    return create_model(title, __base__=View, __doc__=words, **fields)


def _hub_of(noun: type[Noun]) -> Any:
    return Hub if noun.is_scoped else WholeHub


def _with_parameters(
    endpoint: Endpoint, method: Endpoint, declared: Route, response: Any, **own: Any
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
