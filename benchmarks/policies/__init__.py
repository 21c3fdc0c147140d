"""What each eviction policy would have cost, beside the best that foresight could do."""
