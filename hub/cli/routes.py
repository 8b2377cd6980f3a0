"""``hub routes``: REST routes and their roles. Needs no running hub: the table is part of the release."""

from importlib import import_module

import click
from msgspec import to_builtins

from hub.cli import show
from hub.cli.options import example, json_option


@click.command(epilog=example("hub routes"))
@json_option
def routes(as_json: bool) -> None:
    """List the REST routes with the roles that may use them."""
    from hub.api.door.roles import Role
    from hub.api.nouns.system import routes_view

    import_module("hub.api.application")  # its nouns enter their routes in the table
    table = routes_view()
    if as_json:
        show.print_json("routes", to_builtins(table))
        return
    show.print_table(
        ("method", "path", "scope", *Role),
        (
            (route.method, route.path, route.scope, *(role in route.roles for role in Role))
            for route in table.routes
        ),
    )
    show.out()
    show.print_table(
        ("request of a device", "object"),
        ((request.method, request.of) for request in table.device_requests),
    )
