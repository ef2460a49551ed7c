"""Feature extractors with a free output stride."""
