"""Traces of real schedulers: how they are recorded, kept and read; see README.md beside this file."""
