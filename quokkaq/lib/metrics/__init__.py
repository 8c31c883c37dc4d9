"""What Prometheus is told of QuokkaQ.

`definitions` names every metric; `counting` is how apps count, when what they did is committed; `state` computes gauges of
what is so now, from sources that apps register; `page` shows all of it.
"""
