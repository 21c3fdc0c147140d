"""`dagcache replay`: recorded lookups against other budgets."""
