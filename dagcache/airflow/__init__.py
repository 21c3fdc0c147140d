"""The cache in Apache Airflow: the hook, the bag that goes through the cache, and a playground to see it in."""
