"""Airflow's LocalExecutor, with an end that always comes."""

from __future__ import annotations

from airflow.executors.local_executor import LocalExecutor


class EndingExecutor(LocalExecutor):  # type: ignore[misc, unused-ignore]
    """Has a message to end for each of its workers.

    Airflow's own sends one for each worker that is alive, and any worker takes it. One that has ended so before it is
    asked whether it is alive has none sent: then another waits for a message, and the scheduler waits for that one.
    """

    def end(self) -> None:
        """Send the messages, and more of them than Airflow does."""
        for _ in self.workers:
            self.activity_queue.put(None)
        super().end()
