"""Tests of the errors that carry more than their text."""

from services.contracts.errors import InvalidMessage, Outage, Refused, TooMany, Unavailable


def test_a_refused_message_has_its_reason_apart_from_the_detail() -> None:
    error = InvalidMessage("broken_json", "byte 7")
    assert (error.reason, error.detail, str(error)) == ("broken_json", "byte 7", "broken_json: byte 7")
    assert str(InvalidMessage("off_shift")) == "off_shift"


def test_an_outage_names_the_server_and_is_unavailable() -> None:
    error = Outage.of("redis", "Redis does not answer", hung_up=True)
    assert isinstance(error, Unavailable)
    assert (error.server, error.hung_up, str(error)) == ("redis", True, "Redis does not answer")
    # An outage that came over RabbitMQ has its text alone.
    assert (Outage("away").server, Outage("away").hung_up) == ("", False)


def test_a_caller_who_asks_too_often_is_refused_until_a_time() -> None:
    error = TooMany.after(12.5, "wait 13 s")
    assert isinstance(error, Refused)
    assert (error.retry_after_s, TooMany("wait").retry_after_s) == (12.5, 1.0)
