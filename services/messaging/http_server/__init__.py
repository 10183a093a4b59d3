"""HTTP and websocket takeover on Nameko's WSGI server, within bounds."""
