"""`dagcache audit`: the bytes of the heaviest DAGs, by three methods."""
