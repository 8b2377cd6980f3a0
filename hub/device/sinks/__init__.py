"""Places where approved rows go: files of notes, task lists, calendars and tables.

``sync`` compares three states of each row: here, at the target, and as both last agreed on it. What changed
on one side is copied to the other; where both changed, the later edit of a field wins, and the history has
both. Its steps are in modules of their own: ``approved_rows`` and ``recorded_rows`` read the device's file,
``moved_rows`` finds rows at the target, ``merging`` merges a row. ``target`` is what a kind of target
implements. ``text_file`` splices rows into files whose other bytes stay, in the formats of
``hub.text.rows.lines``, ``hub.text.rows.records`` and ``hub.text.rows.calendar``.
"""
