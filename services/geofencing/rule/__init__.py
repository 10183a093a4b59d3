"""Rule of verdicts: from a guard's fixes to entries and exits. Every file is pure."""
