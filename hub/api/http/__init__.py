"""Way of a request into the hub, from an accepted socket to the call of its route.

``server`` listens, and has the listener of webhooks. ``request_parser`` parses HTTP, and limits a connection
before its caller is known. ``access`` decides who calls, and whether the caller may ask. ``idempotency``
answers a repeated request from what is stored. ``assistants`` is the server of assistants that speak MCP,
``authorization`` admits them.
"""
