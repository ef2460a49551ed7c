"""The door: one file a command. The only place where all rooms meet."""
