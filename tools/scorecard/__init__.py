"""The scorecard: the promises on the cache's reliability, each line measured by one command."""
