"""Measurements that want a process of their own: `python -m tests.scorecard.measures.NAME` prints JSON."""
