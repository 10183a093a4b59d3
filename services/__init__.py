"""The domains of Vigil, and the few words and wires that they share."""
