"""`dagcache doctor`: checks of an installation."""
