"""The domains of Vigil, and the modules that they share."""
