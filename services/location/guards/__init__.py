"""State of guards besides their position: clock, shift, battery, devices."""
