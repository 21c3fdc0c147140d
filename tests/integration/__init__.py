"""Tests with real tools and real limits: promtool, Prometheus, control groups, the memory of a process."""
