"""The gateways: the only code that serves devices (MQTT) and users (HTTP, websocket)."""
