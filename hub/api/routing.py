"""Builds the routes that nouns declare: endpoints that take the hub from the request and call the noun."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args

from fastapi import APIRouter, Depends, Response
from pydantic import create_model

from hub.api.deps import Hub, NounRouter, WholeHub
from hub.api.door.routes import declare
from hub.api.errors import refusals
from hub.api.noun import Endpoint, Key, Noun
from hub.api.paging import Paging
from hub.api.views.view import View


def router_of(noun: type[Noun]) -> APIRouter:
    """Build the routes of a noun, and enter each in the table of roles."""
    router = NounRouter(prefix=noun.path, tags=[noun.name], responses=refusals(*noun.errors))
    for declared, method in noun.routes():
        declare(declared.verb, noun.path + declared.path, declared.need)
        router.add_api_route(
            declared.path,
            _endpoint(noun, method) if declared.key is None else _pages(noun, method, declared.key),
            methods=[declared.verb],
            status_code=declared.status,
            responses=refusals(*declared.errors),
            dependencies=[Depends(_no_store)] if declared.is_secret else [],
            operation_id=f"{noun.name}_{method.__name__}",
        )
    return router


def _endpoint(noun: type[Noun], method: Endpoint) -> Endpoint:
    async def endpoint(hub: Any, **given: Any) -> Any:
        return await method(hub.noun(noun), **given)

    return _with_parameters(endpoint, method, inspect.signature(method).return_annotation, hub=_hub_of(noun))


def _pages(noun: type[Noun], method: Endpoint, key: Callable[[Any], Key]) -> Endpoint:
    items_key = noun.list_key or noun.name
    (item,) = get_args(inspect.signature(method).return_annotation)
    items: Any = tuple.__class_getitem__((item, ...))
    fields: dict[str, Any] = {items_key: (items, ...), "next_cursor": (str | None, None)}
    words = f"A page of {items_key}; *next_cursor* leads to the next one."
    envelope = create_model(noun.__name__, __base__=View, __doc__=words, **fields)

    async def endpoint(hub: Any, paging: Any, **given: Any) -> Any:
        found: Sequence[Any] = await method(hub.noun(noun), **given)
        page = paging.cut(sorted(found, key=key), key=key)
        return envelope(**{items_key: page.items, "next_cursor": page.next_cursor})

    return _with_parameters(endpoint, method, envelope, hub=_hub_of(noun), paging=Paging)


def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"


def _hub_of(noun: type[Noun]) -> Any:
    return Hub if noun.is_scoped else WholeHub


def _with_parameters(endpoint: Endpoint, method: Endpoint, response: Any, **own: Any) -> Endpoint:
    """Give *endpoint* the parameters of *method* in addition to its *own*, where FastAPI reads them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    _, *others = inspect.signature(method).parameters.values()
    parameters = [inspect.Parameter(name, keyword, annotation=kind) for name, kind in own.items()]
    parameters += [one.replace(kind=keyword) for one in others]
    endpoint.__name__, endpoint.__doc__ = method.__name__, method.__doc__
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=response)  # type: ignore[attr-defined]
    return endpoint
