"""HTTP interface of operators and agents, which devices may ask, too.

The way of a request: ``door`` authenticates its caller and decides by the table of ``hub.base.roles`` whether
it may ask; ``application`` finds the route; ``binding`` reads the arguments of the noun's method; the method
(in ``nouns``) answers with a view. ``noun`` is all that a noun needs to declare routes, commands, lists,
views and audit entries. ``device`` answers devices by the same methods; ``others`` asks another node;
``application`` also writes the OpenAPI document from the declarations. Commands of the command line are
declared here as well and carried out by ``hub.cli.declared``.
"""
