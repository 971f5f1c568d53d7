"""The built-in regularizers, one file each: a new one is a new file here. `base` says what one must say of itself."""
