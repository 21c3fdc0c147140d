"""`dagcache run`: a real Airflow with the cache in it."""
