"""What values weigh: byte limits, learned estimates, exact walks, process memory, audits."""
