"""The NOC gateway: the live feed over websockets, and the HTTP API."""
