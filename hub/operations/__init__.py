"""The hub as its operators ask it, noun by noun: rows turned into answers. The contract is ``api.facade``."""

from hub.operations.hub import Operations, Where

__all__ = ["Operations", "Where"]
