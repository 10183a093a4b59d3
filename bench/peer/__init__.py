"""A plain asyncio pipeline that keeps the same promises, to hold Vigil against.

Two processes, `gateway` and `store`, on the servers of the bench and in a virtual environment of their own
(`requirements-peer.txt`): nothing here imports Vigil, and Vigil imports nothing from here.

device -> Mosquitto -> gateway (packs what waits) -> quorum queue -> store (identities, zones, one transaction a turn)
-> receipt after the commit; positions and alerts to each websocket
"""
