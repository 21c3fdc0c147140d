"""Tools of the project itself: seeded faults, the scorecard, the matrix of Airflow versions. Not in the wheel."""
