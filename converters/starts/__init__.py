"""Weights of other people's backbones, to begin a training from."""
