"""From RabbitMQ to PostgreSQL. Waiting messages are one transaction.

Then follow receipts and frames, and then the acknowledgement.

Run it as `python -m bench.pipelines.peer.store` with PEER_DATABASE_URL, PEER_AMQP_URI,
PEER_MQTT_HOST, PEER_MQTT_PORT, PEER_TOPIC_PREFIX, PEER_WEBSOCKET_PORT and PEER_ZONES (JSON:
[[latitude, longitude, radius in metres], ...]).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import aiomqtt
import asyncpg
import msgspec
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.pipelines.peer.gateway import QUEUE, RECONNECT_S, Packed
from bench.pipelines.peer.rows import (
    COMMON_COLUMNS,
    KINDS,
    VERDICT_COLUMNS,
    PeerRefusal,
    PeerRow,
    PeerZones,
    decode,
    judge,
)

PREFETCH = 20
AT_ONCE = 4_000
"""Number of messages from which on a transaction takes no further packet."""
INFLIGHT = 1_000
SEE = """
    INSERT INTO message_seen (message_key, received_at) SELECT key, now() FROM unnest($1::uuid[]) AS key
    ON CONFLICT DO NOTHING RETURNING message_key
"""
REFUSED_COLUMNS = ("message_key", "topic", "payload", "reason", "received_at")
Deliveries = list[Any]


class PeerStore:
    """Consumer of the queue.

    It has one database connection, one MQTT connection for receipts, and the websockets.
    """

    def __init__(self, database: Any, mqtt: aiomqtt.Client, zones: PeerZones, prefix: str) -> None:
        self._database = database
        self._mqtt = mqtt
        self._zones = zones
        self._prefix = prefix
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()
        self._prepared: asyncio.Queue[tuple[Deliveries, list[PeerRow], list[PeerRefusal]]] = asyncio.Queue(
            maxsize=1
        )
        self._screens: set[ServerConnection] = set()
        self._newest: dict[str, dict[str, Any]] = {}
        self._decode = msgspec.msgpack.Decoder(list[Packed]).decode
        self._encode = msgspec.json.Encoder().encode

    async def take(self, delivery: Any) -> None:
        """Take a packet from the queue."""
        await self._waiting.put(delivery)

    async def serve_session(self, connection: ServerConnection) -> None:
        """Serve a websocket: the newest position of each guard first, then new frames."""
        await connection.send(self._frame("snapshot", list(self._newest.values())))
        self._screens.add(connection)
        try:
            await connection.wait_closed()
        finally:
            self._screens.discard(connection)

    async def prepare(self) -> None:
        """Decode waiting messages while the previous turn is stored."""
        while True:
            deliveries: Deliveries = [await self._waiting.get()]
            packed = self._decode(deliveries[0].body)
            while not self._waiting.empty() and len(packed) < AT_ONCE:
                deliveries.append(self._waiting.get_nowait())
                packed += self._decode(deliveries[-1].body)
            found = [decode(*one) for one in packed]
            rows = [one for one in found if isinstance(one, PeerRow)]
            refused = [one for one in found if isinstance(one, PeerRefusal)]
            await self._prepared.put((deliveries, rows, refused))

    async def store(self) -> None:
        """Store turn by turn. An error ends the process.

        RabbitMQ then delivers unacknowledged messages again.
        """
        while True:
            deliveries, rows, refused = await self._prepared.get()
            fresh = await self._commit(rows, refused)
            self._send_receipts(rows)
            self._send_frames(fresh)
            await deliveries[-1].ack(multiple=True)

    async def _commit(self, rows: Sequence[PeerRow], refused: Sequence[PeerRefusal]) -> dict[bytes, PeerRow]:
        """Store the rows in one transaction. Return the rows that were not stored before."""
        async with self._database.transaction():
            keys = [row.key for row in rows] + [one.key for one in refused]
            seen = {bytes(found[0]) for found in await self._database.fetch(SEE, keys)}
            fresh = {row.key: row for row in rows if row.key in seen}

            for family, kind in KINDS.items():
                mine = [row for row in fresh.values() if row.family == family]
                if not mine:
                    continue
                is_guard = family == "guard"
                columns = (*COMMON_COLUMNS, *kind.columns, *(VERDICT_COLUMNS if is_guard else ()))
                values = judge(self._zones, mine) if is_guard else [row.values for row in mine]
                await self._database.copy_records_to_table(kind.table, records=values, columns=columns)

            now = datetime.now(UTC)
            bad = [(*one, now) for key, one in {one.key: one for one in refused}.items() if key in seen]
            if bad:
                await self._database.copy_records_to_table(
                    "rejected_message", records=bad, columns=REFUSED_COLUMNS
                )

        return fresh

    def _send_receipts(self, rows: Sequence[PeerRow]) -> None:
        """Send one receipt for each message at QoS 1.

        aiomqtt itself would wait for the broker after each receipt.
        """
        publish = self._mqtt._client.publish  # noqa: SLF001
        for row in rows:
            if row.msg_id is not None:
                body = b'{"msg_id":"%s","status":"stored"}' % row.msg_id.encode()
                publish(f"{self._prefix}receipt/{row.source_id}", body, qos=1)

    def _send_frames(self, fresh: dict[bytes, PeerRow]) -> None:
        moved: dict[str, dict[str, Any]] = {}
        for row in fresh.values():
            if row.family == "guard":
                names = (*COMMON_COLUMNS[3:5], *KINDS["guard"].columns)
                values = (*row.values[3:5], *row.values[len(COMMON_COLUMNS) :])
                moved[row.source_id] = {"guard_id": row.source_id, **dict(zip(names, values, strict=True))}
            elif row.family == "alert":
                broadcast(self._screens, self._frame("alert", [{"source_id": row.source_id}]))

        self._newest |= moved
        if moved and self._screens:
            broadcast(self._screens, self._frame("positions", list(moved.values())))

    def _frame(self, kind: str, data: list[dict[str, Any]]) -> str:
        return self._encode({"type": kind, "data": data}).decode()


async def connect_database() -> Any:
    """Return a connection that takes EWKB for places and 16 bytes for identities."""
    database = await asyncpg.connect(os.environ["PEER_DATABASE_URL"])
    await database.execute((Path(__file__).parent / "schema.sql").read_text())
    for name, schema in (("geography", "public"), ("uuid", "pg_catalog")):
        await database.set_type_codec(name, schema=schema, encoder=bytes, decoder=bytes, format="binary")
    return database


async def main() -> None:
    """Serve until killed or until a connection breaks.

    The starter of the process starts it again.
    """
    prefix = os.environ["PEER_TOPIC_PREFIX"]
    zones = PeerZones(msgspec.json.decode(os.environ["PEER_ZONES"], type=list[tuple[float, float, float]]))
    database = await connect_database()
    mqtt = aiomqtt.Client(
        os.environ["PEER_MQTT_HOST"],
        int(os.environ["PEER_MQTT_PORT"]),
        identifier="peer-store",
        max_inflight_messages=INFLIGHT,
    )

    amqp = await aio_pika.connect(os.environ["PEER_AMQP_URI"])
    async with amqp, mqtt:
        store = PeerStore(database, mqtt, zones, prefix)
        channel = await amqp.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})

        async with serve(store.serve_session, "127.0.0.1", int(os.environ["PEER_WEBSOCKET_PORT"])):
            await queue.consume(store.take)
            print("ready", flush=True)
            tasks = {asyncio.create_task(store.prepare()), asyncio.create_task(store.store())}
            broken = {mqtt._disconnected, asyncio.ensure_future(amqp.closed())}  # noqa: SLF001
            done, _ = await asyncio.wait(tasks | broken, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
            raise ConnectionError(f"a connection of the store broke; again in {RECONNECT_S:g} s")


if __name__ == "__main__":
    uvloop.run(main())
