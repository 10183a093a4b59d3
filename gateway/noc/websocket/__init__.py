"""Live feed over websockets: sessions, their send queues, and the hub that fills them."""
