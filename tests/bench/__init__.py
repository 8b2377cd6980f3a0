"""``make bench``: what the hub costs, as ratios against named baselines measured in the same run.

Absolute figures belong to one machine on one day, so none is a goal. Every pair
of figures is taken in the same round, several rounds are played, and a round in
which other programs used the machine is not judged.
"""
