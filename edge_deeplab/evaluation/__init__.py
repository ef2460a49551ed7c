"""How good a mask is: confusion, trimap, boundary, and the runner over a data set."""
