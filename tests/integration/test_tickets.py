"""Tests of tickets on a real Redis: each is good once, and useless to a reader of Redis."""

import msgspec
import pytest

from gateway.noc.auth.tickets import Tickets
from gateway.noc.auth.tokens import Principal
from services.contracts.errors import NotAuthenticated
from services.platform import redis_client
from services.platform.config import Config

ANN = Principal(
    login="ann@test", name="Ann Rao", tenant_id=7, role="operator", expires_at=2**31, issued_at=0.0
)


def test_redis_has_no_name_of_the_holder_and_no_ticket(config: Config) -> None:
    tickets = Tickets.from_config(config)
    ticket = tickets.make(ANN, origin="https://noc.example.com")
    client = redis_client.make_redis(config)
    [name] = client.scan_iter(f"{config.redis.key_prefix}:*")
    held = name + client.get(name)
    for secret in (
        b"ann@test",
        b"Ann Rao",
        b"operator",
        b"noc.example.com",
        ticket.encode(),
        ticket[2:].encode(),
    ):
        assert secret not in held
    assert tickets.redeem(ticket, origin="https://noc.example.com") == ANN
    with pytest.raises(NotAuthenticated):
        tickets.redeem(ticket, origin="https://noc.example.com")


def test_what_somebody_wrote_into_redis_is_no_ticket(config: Config) -> None:
    tickets = Tickets.from_config(config)
    client = redis_client.make_redis(config)
    first, second = (tickets.make(ANN, origin=None) for _ in range(2))
    client.rename(tickets._key(first), tickets._key(second))
    with pytest.raises(NotAuthenticated):
        tickets.redeem(second, origin=None)
    forged = {"principal": {**msgspec.structs.asdict(ANN), "role": "platform"}, "origin": None}
    client.set(tickets._key("7.guessed"), msgspec.json.encode(forged))
    with pytest.raises(NotAuthenticated):
        tickets.redeem("7.guessed", origin=None)
