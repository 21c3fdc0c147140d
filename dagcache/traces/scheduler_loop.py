"""The lookups of one loop of Airflow's scheduler."""

from __future__ import annotations

RUNS_PER_LOOP = 20
"""Airflow's ``[scheduler] max_dagruns_per_loop_to_schedule``."""
PASSES = 2
"""Lookups of a run in a loop. The scheduler examines all runs of the loop, and then looks all of their DAGs up again to
send callbacks. It holds the DAGs of the first pass until then."""
LOOKUPS_PER_LOOP = PASSES * RUNS_PER_LOOP
"""The lookups of a loop, which holds the DAGs of all of them until its end."""
