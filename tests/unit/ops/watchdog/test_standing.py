"""Tests of connections that stay open between two questions."""

from __future__ import annotations

import pytest

from ops.watchdog.standing import RENEW_S, StandingConnection


class Server:
    """A server that counts its connections.

    `fails` has the errors that replace its next answers.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.made = 0
        self.closed = 0
        self.asked = 0
        self.fails: list[BaseException] = []

    def connect(self) -> Server:
        self.made += 1
        return self

    def ask(self) -> None:
        self.asked += 1
        if self.fails:
            raise self.fails.pop(0)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def standing(server: Server) -> StandingConnection:
    return StandingConnection(server.connect, clock=lambda: server.now_s)


def test_a_connection_is_used_again_until_it_is_old(server: Server, standing: StandingConnection) -> None:
    for at_s in range(0, int(RENEW_S), 3):
        server.now_s = at_s
        standing.ask()
    assert (server.made, server.closed) == (1, 0)
    server.now_s = RENEW_S
    standing.ask()
    assert (server.made, server.closed) == (2, 1)


def test_a_connection_that_was_closed_meanwhile_is_no_news(
    server: Server, standing: StandingConnection
) -> None:
    standing.ask()
    server.fails = [ConnectionResetError()]
    standing.ask()
    assert (server.made, server.closed, server.asked) == (2, 1, 3)


def test_a_server_that_does_not_answer_on_a_new_connection_either_is_away(
    server: Server, standing: StandingConnection
) -> None:
    standing.ask()
    server.fails = [ConnectionResetError(), TimeoutError("no")]
    with pytest.raises(TimeoutError):
        standing.ask()
    assert server.closed == 2
    standing.ask()
    assert server.made == 3


def test_a_question_that_is_ended_at_its_deadline_leaves_no_connection_behind(
    server: Server, standing: StandingConnection
) -> None:
    standing.ask()
    server.fails = [GeneratorExit()]
    with pytest.raises(GeneratorExit):
        standing.ask()
    assert (server.asked, server.closed) == (2, 1)
