"""Files of users, read within bounds or refused in one sentence. Every file is pure."""
