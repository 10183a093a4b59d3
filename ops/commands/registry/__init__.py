"""Commands about tenants, sites, guards, devices, users and shifts."""
