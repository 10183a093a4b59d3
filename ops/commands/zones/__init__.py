"""Commands of `vigil zone`."""
