"""The built-in annealing curves: a new one is a class of `curves` or a new file here."""
