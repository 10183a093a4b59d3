"""A plain asyncio pipeline with the same promises, for comparison with Vigil.

It has two processes, `gateway` and `store`, on the servers of the bench. They have their own
virtual environment (`requirements-peer.txt`): nothing here imports Vigil, and Vigil imports nothing
from here.

device -> Mosquitto -> gateway (packs waiting messages) -> quorum queue
-> store (identities, zones, one transaction a turn)
-> receipt after the commit; positions and alerts to each websocket
"""
