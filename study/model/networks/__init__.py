"""The built-in networks: a new one is a new file here. `study.components.Network` is what one derives from."""
