"""Upgrades and rollbacks of Airflow, Python and dagcache with one warm store."""
