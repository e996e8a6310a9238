"""One file for each kind of model files that `braid convert` knows."""
