"""Which limits to set, from what Airflow's metadata database knows. Needs no Airflow."""
