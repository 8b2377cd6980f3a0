"""The composition root: every object of the hub is built here, once, from settings and by hand.

One module for each part of the house; ``hub.assembly.hub`` puts them together, in their order.
"""

from hub.assembly.ground import Ground
from hub.assembly.hub import Hub

__all__ = ["Ground", "Hub"]
