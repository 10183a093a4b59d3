"""Zones in files: GeoJSON and KML. Every file is pure."""
