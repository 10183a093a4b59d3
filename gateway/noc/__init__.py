"""From the feed to people: HTTP and websockets on one port."""
