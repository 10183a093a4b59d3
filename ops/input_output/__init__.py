"""Input files and output tables of operators' commands."""
