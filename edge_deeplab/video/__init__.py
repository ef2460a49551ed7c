"""Frames in time: sources, sinks, the mailbox between threads, the pipeline."""
