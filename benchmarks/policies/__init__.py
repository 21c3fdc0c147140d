"""Cost of eviction policies on traces, beside an offline policy that knows the future."""
