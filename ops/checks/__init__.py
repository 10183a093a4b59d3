"""Checks of an installation: `vigil health` and the four servers."""
