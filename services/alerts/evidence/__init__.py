"""Evidence: the sealed timeline, and the pack that a third party can check."""
