"""For the people who run Vigil."""
