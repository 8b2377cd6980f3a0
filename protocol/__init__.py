"""Definitions shared by both ends of the wire. No I/O, no clock, no randomness.

From the bottom: ``errors`` and ``ids`` are used by all; ``frame`` is the base of all frames. ``handshake``,
``work``, ``tool_calls``, ``calls`` and ``coordination`` declare the frames, over ``items``, ``receipts``
and ``skipped_files``; ``codec`` turns them into bytes and back. ``session`` holds the rules of a connection
for both sides: bytes and time in, events and bytes out. ``lifecycles``, ``agent_status`` and
``agent_messages`` are the state machines, ``tables`` the tables of a device, ``configs`` and
``requirements`` the typed settings of agents. ``PROTOCOL.md`` describes all of it for other
implementations.
"""
