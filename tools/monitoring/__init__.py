"""Builders of the dashboard and the alert rules, which the package ships as data."""
