"""Other machines from the desk: a model goes there, is measured or run, and what came out comes back."""
