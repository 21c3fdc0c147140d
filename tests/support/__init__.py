"""Helpers of several test modules and of the benchmarks."""
