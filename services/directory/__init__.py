"""Directory: tenants, sites, zones, guards, devices and users."""
