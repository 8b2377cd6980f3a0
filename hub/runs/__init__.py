"""Runs: their creation, execution, delivery to devices, and control.

The way of a run: ``scheduler`` (or a request, ``control``) queues its row; ``dispatcher`` claims the row for
this hub. ``runner`` reads documents from a device (``sources``) or messages (``mailbox_visit``). It asks
rules and models (``asking``, paid by ``budget``). It compares the items with the ledger (``matching``) and
sends them (``delivery``). ``attempt_ending`` decides what an error means for the run.

Around it: ``agreement`` compares ledger and device at each connect, and ``verdict_delivery`` brings verdicts
to devices; ``previewing``, ``estimates`` and ``file_explanations`` read without writing; ``wait_sentences``,
``sentences`` and ``failures`` word all of it for people. All state that must survive is in ``storage.runs``;
``lifecycle`` writes each change of a run. ``hub.app.work`` builds and starts the services.
"""
