"""HTTP interface of operators and agents, which devices may ask, too.

The way of a request: ``http`` authenticates its caller and decides by the table of ``hub.base.roles`` whether
it may ask; ``application`` finds the route; ``binding`` reads the arguments of the resource's method; the
method (in ``resources``) answers with a view. ``resource`` is all that a resource needs to declare routes,
commands, lists, views and audit entries. ``device`` answers devices by the same methods; ``peers`` asks
another node;
``application`` also writes the OpenAPI document from the declarations. Commands of the command line are
declared here as well and carried out by ``hub.cli.declared``.
"""
