"""Nouns of the operators' interface: a class per noun, whose marked methods are its routes.

``@route("POST", "/release", Scope.RUN, errors=[ErrorCode.LOCK_LOST])`` above an ``async def`` declares the
route, its row in the table of roles, and its OpenAPI entry. ``@listed`` declares a list with its
pages and its envelope. The parameters of the method are those of the request, as FastAPI spells them.
A method with several of these decorators answers at several routes. Its parameter of the type
``authority.Caller`` is the agent at a route of ``AGENT``, and the operator at any other.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from copy import copy
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar

from hub.api.door.routes import Need
from protocol.errors import ErrorCode
from protocol.ids import UserId

Key = tuple[str | int, ...]  # a sort key
Endpoint = Callable[..., Awaitable[Any]]
Method = TypeVar("Method", bound=Endpoint)
_ROUTES: Final = "__routes__"  # attribute of a method: its Routes


class Route(NamedTuple):
    """A route as its method declares it.

    Attributes:
        path: below the path of the noun.
        errors: codes that it may answer, in addition to those of the noun.
        key: the sort key of a listed item; ``None``: the method returns the whole response.
    """

    verb: str
    path: str
    need: Need
    errors: tuple[ErrorCode, ...]
    status: int
    key: Callable[[Any], Key] | None = None


def route(
    verb: str, path: str, need: Need, *, errors: Iterable[ErrorCode] = (), status: int = 200
) -> Callable[[Method], Method]:
    """Declare a method as the route *verb* *path*. Its return annotation is the response model."""
    return _marked(Route(verb, path, need, tuple(errors), status))


def listed(
    path: str, need: Need, *, key: Callable[[Any], Key], errors: Iterable[ErrorCode] = ()
) -> Callable[[Method], Method]:
    """Declare a method that returns a whole list as the route ``GET`` *path*, which answers in pages."""
    return _marked(Route("GET", path, need, tuple(errors), 200, key))


def _marked(declared: Route) -> Callable[[Method], Method]:
    def mark(method: Method) -> Method:
        setattr(method, _ROUTES, (declared, *getattr(method, _ROUTES, ())))
        return method

    return mark


class Noun:
    """Base of the nouns. A noun answers for all users, or for the one that it is scoped to.

    Attributes:
        name: of the noun, and the key of its lists.
        path: prefix of its routes.
        errors: codes that each of its routes may answer.
        is_scoped: whether routes see the noun as the caller may; else they check the caller themselves.
        user_id: the user whose things are visible; None: everybody's. Methods have to respect it.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    errors: ClassVar[tuple[ErrorCode, ...]] = ()
    is_scoped: ClassVar[bool] = True
    user_id: UserId | None = None

    def seen_by(self, user_id: UserId | None) -> Self:
        """Return the same noun, scoped to this user's things."""
        scoped = copy(self)
        scoped.user_id = user_id
        return scoped

    @classmethod
    def routes(cls) -> Iterator[tuple[Route, Endpoint]]:
        """Return the declared routes with their methods, in the order of the class."""
        for method in vars(cls).values():
            for declared in getattr(method, _ROUTES, ()):
                yield declared, method
