"""Prometheus: `names` lists the metrics, `collector` exports them, `server` serves them, `scrape` reads them back."""
