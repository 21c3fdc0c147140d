"""`dagcache advise`: which byte limit to set."""
