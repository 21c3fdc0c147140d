"""Shared parts of the commands: argument types, endpoints, failures, progress, views, snapshots of a component."""
