"""Learning: losses, schedule, loop, tuning."""
