"""The cache inside a real Airflow: its processes, its databases. A run of its own: `pytest tests/in_airflow`."""
