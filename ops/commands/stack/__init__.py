"""Commands about the running stack."""
