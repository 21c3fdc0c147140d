"""`dagcache warm`: the content of the warm store on disk."""
