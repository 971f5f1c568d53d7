"""The built-in likelihoods: a new one is a new file here. `base` says what one must say of itself."""
