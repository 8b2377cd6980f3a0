"""Review of items in a browser at the device: the dashboard's page over the device's own file.

``server`` answers the requests of that page on loopback; ``filters`` selects and counts the items that it
asks for; ``views`` has the bodies, whose fields are those of the hub's REST interface.
"""
