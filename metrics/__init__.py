"""Prometheus exposition of the cache's statistics; `names` lists them, `collector` exports them."""
