"""Measurements that want a process of their own: `python -m tools.scorecard.measures.NAME` prints JSON."""
