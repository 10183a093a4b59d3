"""Client of the live feed for programs."""
