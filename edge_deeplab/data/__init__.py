"""Data sets: pairs of picture and mask, and the one loader that batches them."""
