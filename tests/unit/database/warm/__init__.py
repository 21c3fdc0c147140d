"""Tests of the warm store in a database."""
