"""Communication between agents and with people: boards, memory, messages, questions, souls.

``board_access`` decides what a caller may do on a board. ``messages``, ``broadcasts``, ``questions`` (with
the memory of boards) and ``souls`` check a request and write its row; the API and the devices' tools call
them. Services do the rest: ``message_delivery`` delivers each open message, at gateways by
``gateway_delivery``; ``souls`` carries out writes of souls; ``provisioning`` creates agents at gateways;
``gateway_watch`` follows their status. All state that must survive is in ``storage.coordination``;
``message_transitions`` writes each change of a message.
"""
