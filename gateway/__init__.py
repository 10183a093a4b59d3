"""The edges: the only code that meets devices (MQTT) and people (HTTP, websocket)."""
