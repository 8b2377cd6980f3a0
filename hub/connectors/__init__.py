"""Remote mail, messages and calendars: the contract of a connector, and the providers that implement it.

``connector`` is the contract, ``catalogue`` finds connectors by name, and ``selection`` applies the filter
of an agent; ``conformance`` tests the contract for authors of plug-ins. A provider is one module (``imap``,
``gmail``, ``outlook``, ``teams``, ``caldav``, ``webhook``, ``maildir``) over ``calling``, the HTTP client,
or ``imap_connection``; or it is a file in ``manifests``, for the engine ``manifest``. Runs list and read
messages (``hub.runs.mailbox_visit``); ``mime`` makes a document of a mail. A connector has no state:
``hub.accounts`` lends the credentials, runs keep the cursors.
"""
