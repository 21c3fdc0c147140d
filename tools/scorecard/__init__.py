"""The scorecard: what is promised of the cache's reliability, each line measured by one command."""
