"""Clock, under the name that plug-ins and test kits of release 0.2 import (``hub.base.clock``)."""

from hub.base.clock import Chance, Clock, IdFactory, SystemChance, SystemClock, epoch_ms, from_epoch_ms

__all__ = ["Chance", "Clock", "IdFactory", "SystemChance", "SystemClock", "epoch_ms", "from_epoch_ms"]
