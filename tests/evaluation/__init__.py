"""``make eval`` and its sisters: the twelve bars of extraction, each by one command that prints its figures.

``python -m tests.evaluation 1`` measures the first. The way this program began (``seed``)
stands beside ours in the same run, against the same server and over the same documents.
"""
