"""Programs for people: portrait blur and class overlay, live or for a file. Device side only."""
