"""Register of tenants, sites, guards, devices and groups."""
