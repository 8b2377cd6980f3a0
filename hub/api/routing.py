"""Builds the routes that nouns declare: endpoints that take the hub from the request and call the noun."""

import inspect
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, get_args

from fastapi import APIRouter, Response
from pydantic import create_model

from hub.api.deps import Hub, NounRouter, WholeHub
from hub.api.errors import refusals
from hub.api.noun import Endpoint, Key, Noun, Route
from hub.api.paging import Paging
from hub.api.views.view import View


def router_of(noun: type[Noun]) -> APIRouter:
    """Build the routes of a noun."""
    router = NounRouter(prefix=noun.path, tags=[noun.name])
    for declared, method in noun.routes():
        router.add_api_route(
            declared.path,
            _endpoint(noun, declared, method),
            methods=[declared.verb],
            status_code=declared.status,
            responses=refusals(*dict.fromkeys((*noun.errors, *declared.errors)))
            | {status: {"model": inspect.signature(method).return_annotation} for status in declared.also},
            operation_id=f"{noun.name}_{method.__name__}",
            **_response_of(method),
        )
    return router


def _response_of(method: Endpoint) -> dict[str, Any]:
    """Return options for a method that returns a stream, or (``Model | EventStream``) may return one."""
    returned = inspect.signature(method).return_annotation
    if isinstance(returned, UnionType):
        model, other = get_args(returned)
        return {"response_model": model} if issubclass(other, Response) else {}
    is_response = isinstance(returned, type) and issubclass(returned, Response)
    return {"response_class": returned} if is_response else {}


def _endpoint(noun: type[Noun], declared: Route, method: Endpoint) -> Endpoint:
    hub_kind = Hub if noun.is_scoped and not declared.is_whole else WholeHub
    if declared.key is not None:
        return _pages(noun, method, declared.key, hub_kind)

    async def endpoint(hub: Any, **given: Any) -> Any:
        return await method(hub.noun(noun), **given)

    return _with_parameters(endpoint, method, inspect.signature(method).return_annotation, hub=hub_kind)


def _pages(noun: type[Noun], method: Endpoint, key: Callable[[Any], Key], hub_kind: Any) -> Endpoint:
    (item,) = get_args(inspect.signature(method).return_annotation)
    items: Any = tuple.__class_getitem__((item, ...))
    fields: dict[str, Any] = {noun.name: (items, ...), "next_cursor": (str | None, None)}
    words = f"A page of {noun.name}; *next_cursor* leads to the next one."
    envelope = create_model(noun.__name__, __base__=View, __doc__=words, **fields)

    async def endpoint(hub: Any, paging: Any, **given: Any) -> Any:
        found: Sequence[Any] = await method(hub.noun(noun), **given)
        page = paging.cut(sorted(found, key=key), key=key)
        return envelope(**{noun.name: page.items, "next_cursor": page.next_cursor})

    return _with_parameters(endpoint, method, envelope, hub=hub_kind, paging=Paging)


def _with_parameters(endpoint: Endpoint, method: Endpoint, response: Any, **own: Any) -> Endpoint:
    """Give *endpoint* the parameters of *method* in addition to its *own*, where FastAPI reads them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    _, *others = inspect.signature(method).parameters.values()
    parameters = [inspect.Parameter(name, keyword, annotation=kind) for name, kind in own.items()]
    parameters += [one.replace(kind=keyword) for one in others]
    endpoint.__name__, endpoint.__doc__ = method.__name__, method.__doc__
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=response)  # type: ignore[attr-defined]
    return endpoint
