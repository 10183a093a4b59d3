"""Secrets that went through Vigil in this session: in the end they are looked for in its logs."""

canaries: set[str] = set()


def canary(secret: str) -> str:
    """The secret, remembered."""
    canaries.add(secret)
    return secret
