"""``hub routes``: who may ask what. No hub needs to run: the table is part of the release."""

import click

from hub.cli import show
from hub.cli.options import json_option


@click.command()
@json_option
def routes(as_json: bool) -> None:
    """Show what may be asked of a hub, and which roles may."""
    from hub.api.application import application
    from hub.api.door.roles import Role
    from hub.api.views.routes import routes_view

    application()  # its nouns enter their routes in the table
    told = routes_view()
    if as_json:
        show.print_json("routes", told.model_dump(mode="json"))
        return
    show.print_table(
        ("method", "path", "scope", *Role),
        (
            (route.method, route.path, route.scope, *(role in route.roles for role in Role))
            for route in told.routes
        ),
    )
    show.out()
    show.print_table(
        ("request of a device", "of what"), ((request.method, request.of) for request in told.device_requests)
    )
