"""Websocket sessions of one tenant, in a process of their own.

Usage: `python -m tests.torture.attacks.watchers HOST:PORT TOKEN COUNT UNTIL`. Each session counts
its frames until UNTIL of them came. The process prints a line when all are open. At the end it
prints one JSON list, with the frames of each session, or the reason why it was closed.
"""

from __future__ import annotations

import json
import sys
import threading

import websocket

SLOWEST_S = 60


def watch(screen: websocket.WebSocket, until: int, place: int, told: list[int | str]) -> None:
    seen = 0
    while seen < until:
        try:
            opcode, data = screen.recv_data()
        except (OSError, websocket.WebSocketException) as error:
            told[place] = repr(error)
            return
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            told[place] = f"closed with {int.from_bytes(data[:2], 'big')}"
            return
        seen += b'"alert_updated"' in data[:200]
    told[place] = seen


def main(base: str, token: str, number: str, until: str) -> list[int | str]:
    url, header = f"ws://{base}/ws/noc/dashboard/", [f"Authorization: Bearer {token}"]
    screens = [websocket.create_connection(url, header=header, timeout=SLOWEST_S) for _ in range(int(number))]
    for screen in screens:
        while b'"snapshot"' not in screen.recv_data()[1][:200]:
            continue
    print("open", flush=True)
    told: list[int | str] = [0] * len(screens)
    threads = [
        threading.Thread(target=watch, args=(screen, int(until), place, told))
        for place, screen in enumerate(screens)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)
