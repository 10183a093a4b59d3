"""Tests that a message that brings a server down is found.

It is distinguished from the messages that wait for the server.
"""

from services.messaging.outage_pause.blame import REMEMBERED, TIMES, OutageBlame


def test_messages_that_wait_through_one_outage_after_another_are_not_to_blame() -> None:
    # Given a queue whose messages all meet every outage, while none gets through
    blame = OutageBlame()

    # When the server stays away for a thousand tries
    found = [
        blame.meet(message, at, alone=False) for at in range(1000) for message in ("one", "another", "third")
    ]

    # Then no message is to blame
    assert not any(found)


def test_a_message_that_meets_outages_while_others_get_through_is_to_blame() -> None:
    # Given a message that meets an outage whenever it is tried, and others that succeed in between
    blame, found = OutageBlame(), []

    # When it is tried again and again
    for turn in range(TIMES + 1):
        found.append(blame.meet("bad", turn, alone=False))
        blame.succeed(f"good-{turn}", turn + 0.5)

    # Then the first outage says nothing, and after so many more the message is to blame
    assert found == [False] * TIMES + [True]


def test_a_message_that_is_alone_whenever_the_server_hangs_up_is_to_blame() -> None:
    blame = OutageBlame()
    assert [blame.meet("bad", at, alone=True) for at in range(TIMES)] == [False] * (TIMES - 1) + [True]


def test_a_message_that_was_handled_begins_without_a_suspicion() -> None:
    # Given a message that was suspected up to the limit
    blame = OutageBlame()
    for at in range(TIMES - 1):
        blame.meet("unlucky", at, alone=True)

    # When it succeeds, and meets an outage again
    blame.succeed("unlucky", 10)

    # Then it is not to blame
    assert not blame.meet("unlucky", 11, alone=True)


def test_nothing_is_watched_when_all_that_met_an_outage_were_handled() -> None:
    blame = OutageBlame()
    assert not blame.is_watching
    blame.meet("one", 0, alone=False)
    assert blame.is_watching
    blame.succeed("one", 1)
    assert not blame.is_watching


def test_only_so_many_messages_are_remembered() -> None:
    # Given more messages than are remembered, each suspected one time too few
    blame = OutageBlame()
    for number in range(REMEMBERED + 1):
        for at in range(TIMES - 1):
            blame.meet(str(number), at, alone=True)

    # Then the oldest is forgotten, and the newest is not
    assert not blame.meet("0", 5, alone=True)
    assert blame.meet(str(REMEMBERED), 5, alone=True)
