"""Dead letters over RPC, and the tenants that own them."""
