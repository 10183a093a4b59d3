"""Tenants, sites, zones, guards, devices, people."""
