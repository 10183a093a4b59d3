"""From MQTT to RabbitMQ. Waiting messages leave as one packed message.

MQTT is acknowledged after RabbitMQ's confirm.

Run it as `python -m bench.pipelines.peer.gateway` with PEER_AMQP_URI, PEER_MQTT_HOST,
PEER_MQTT_PORT and PEER_TOPIC_PREFIX.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import aio_pika
import aiomqtt
import msgspec
import uvloop

FAMILIES = ("device", "guard", "sensor", "alert", "system")
QUEUE = "peer"
BATCH = 1_000
PACK_BYTES = 4_194_304
RECONNECT_S = 1.0
Packed = tuple[str, bytes, float]
"""Topic, payload, and the time of receipt in seconds of the epoch."""


async def main() -> None:
    """Serve until killed. A broken connection is made again.

    The broker then sends unacknowledged messages again.
    """
    while True:
        try:
            await serve()
        except (aiomqtt.MqttError, aio_pika.exceptions.AMQPError, ConnectionError) as error:
            print(f"gateway: {error}", flush=True)
            await asyncio.sleep(RECONNECT_S)


async def serve() -> None:
    """Serve one connection to each side, until either breaks."""
    prefix = os.environ["PEER_TOPIC_PREFIX"]
    amqp = await aio_pika.connect(os.environ["PEER_AMQP_URI"])
    mqtt = aiomqtt.Client(
        os.environ["PEER_MQTT_HOST"],
        int(os.environ["PEER_MQTT_PORT"]),
        identifier="peer-gateway",
        clean_session=False,
    )

    # aiomqtt has no public way to acknowledge late. It also has none to take waiting messages
    # without a task for each message.
    mqtt._client.manual_ack_set(True)  # noqa: SLF001
    async with amqp, mqtt:
        channel = await amqp.channel(publisher_confirms=True)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await mqtt.subscribe([(f"{prefix}{family}/#", 1) for family in FAMILIES])
        print("ready", flush=True)
        pump = asyncio.create_task(_pump(mqtt, channel, len(prefix)))

        try:
            await asyncio.wait(
                {pump, mqtt._disconnected},  # noqa: SLF001
                return_when=asyncio.FIRST_COMPLETED,
            )
            if pump.done():
                pump.result()
        finally:
            pump.cancel()


async def _pump(mqtt: Any, channel: Any, prefix_size: int) -> None:
    waiting: asyncio.Queue[aiomqtt.Message] = mqtt._queue  # noqa: SLF001
    encode = msgspec.msgpack.Encoder().encode

    while True:
        batch, size = [await waiting.get()], 0
        while not waiting.empty() and len(batch) < BATCH and size < PACK_BYTES:
            batch.append(waiting.get_nowait())
            size += len(batch[-1].payload)

        now_s = time.time()
        packed: list[Packed] = [(one.topic.value[prefix_size:], one.payload, now_s) for one in batch]
        body = aio_pika.Message(encode(packed), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(body, routing_key=QUEUE, mandatory=True)

        for one in batch:
            mqtt._client.ack(one.mid, one.qos)  # noqa: SLF001


if __name__ == "__main__":
    uvloop.run(main())
