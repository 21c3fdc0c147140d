"""A file of Airflow's DAG folder that does not import: the API server has an import error to tell."""

raise RuntimeError("no DAG, on purpose")
