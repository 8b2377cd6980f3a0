"""Extraction of items from text: by rules where the form is unambiguous, else by a model.

The way of a document: ``extractor`` is called by runs, previews and evaluations, and returns an
``Extraction`` of ``items``. It first sends a request of ``ruled`` to ``rules_process``, another process:

1. ``structured`` reads formats (``calendars``, ``letters``, ``task_lists``, ``spreadsheets``) and returns a
   ``Form``: items, passages of prose, and the author's own text. ``blocks`` blanks what is no prose in
   Markdown, Org and reStructuredText.
2. ``prose`` reads the passages, if no model does, and those of a text of reference more strictly.
   ``prose_view`` blanks what is no sentence and joins wrapped lines. ``prose_layout`` and ``text_kinds`` say
   what kind of text it is.
   ``chunk`` decides where a sentence and a wrapped line end. Each sentence is of one language of ``wording``.
   It is split into clauses, and the patterns of the language match them: tasks, events, decisions, facts.
3. Words for days in a sentence are found and resolved by ``when``, from the day that ``dating`` finds for the
   passage. ``outline`` and ``wording.names`` say whose a list is.
4. ``duplicates`` are removed, and ``injection_warnings`` marks items whose text gives orders
   (``prompt_injection``), or whose quote does not support them (``quote_support``).

With a model, step 2 is its: ``chunk`` cuts the passages, ``hub.text.redaction`` hides values, ``prompt``
asks, ``endpoint`` or ``local_model`` answers, ``answers`` and ``validate`` make items; a second request does
step 4.

Items carry their position in the text and its quote. Nothing is kept between two documents but the compiled
languages, in the process of the rules, and what endpoints did before, in ``circuit_breaker`` and
``rate_limiter``.
"""
