"""Parts that several commands use: failures, progress, log tails, and the figures of one scrape."""
