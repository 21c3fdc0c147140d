"""A file of Airflow's DAG folder that does not import: the API server shows an import error."""

raise RuntimeError("no DAG, on purpose")
