"""Conversion of files to text, and comparison of texts, identical on device and hub.

``convert`` selects the converter by a file's type (``files``) and the process: this one, or another one, for
which ``worker`` starts ``worker_main``, which ``confinement`` locks in first. A converter is a module:
``html``, ``letter_text`` (mails), ``archives`` and ``chats`` (many messages), ``calendars``, ``office``,
``pictures``. ``excerpt`` cuts the lines around a quote for a reviewer.

``folding`` normalizes text for comparison, ``patterns`` compiles patterns of owners, and ``redaction`` hides
values. None of these modules knows items or models.
"""
