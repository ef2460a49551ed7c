"""How fast a model is, on which host, and where the time goes."""
