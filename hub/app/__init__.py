"""The process of the hub: every object is built here, once, from settings and by hand.

One module for each part; ``hub.app.hub`` puts them together, in their order.
"""
