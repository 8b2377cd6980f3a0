"""Handlers of requests from devices: the methods of ``request``, with one module per noun."""
