"""Formats of lines, under the name that packages of sinks of release 0.2 import (``hub.text.rows.lines``)."""

from hub.text.rows.lines import Markdown, TodoTxt

__all__ = ["Markdown", "TodoTxt"]
