"""Where a job runs, or how long it waits: decided in memory, from what is known of the engines."""
