"""The recipes that made the bundled models."""
