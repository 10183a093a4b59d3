"""Shapes that cross a process. Every file is pure and imports nothing else of Vigil."""
