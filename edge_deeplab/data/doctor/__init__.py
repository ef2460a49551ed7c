"""Looking a data set over before it is trained on: what would break, what would mislead, what it is made of."""
