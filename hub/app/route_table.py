"""Table of the REST routes, which modules of resources fill when they are imported."""

from importlib import import_module

from hub.api.resources.system import RoutesView, routes_view


def complete_table() -> RoutesView:
    """Return the table once all resources have entered their routes."""
    import_module("hub.api.application")
    return routes_view()
