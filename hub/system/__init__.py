"""What differs between Linux, macOS and Windows, for the programs of a desktop.

``folders`` opens files below a folder without following links. Where a system lacks a way, another one takes
its place. Both ways are tested on each system that has them.
"""
