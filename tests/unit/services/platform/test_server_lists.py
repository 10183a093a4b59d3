import pytest
from sqlalchemy.engine import make_url

from services.contracts.errors import Misconfigured
from services.platform import server_lists
from services.platform.database import database_url

THREE = "amqp://v:s3cret@a:1/x;amqp://v:s3cret@b:2/x;amqp://v:s3cret@c:3/x"


def connect_arguments(url: str) -> dict[str, object]:
    """Return the arguments that SQLAlchemy hands to libpq."""
    made = make_url(database_url(url))
    return dict(made.get_dialect()().create_connect_args(made)[1])


def test_nodes_are_shuffled_and_none_is_lost() -> None:
    assert len(server_lists.amqp_nodes(THREE)) == 3
    turned = server_lists.amqp_shuffled(THREE, lambda nodes: nodes.reverse())
    assert server_lists.hosts_of(turned) == "c:3,b:2,a:1"
    assert server_lists.amqp_shuffled("amqp://one//", lambda nodes: nodes.reverse()) == "amqp://one//"


def test_nodes_may_be_hosts_of_one_uri_or_uris_of_their_own() -> None:
    assert server_lists.amqp_nodes("amqp://v:s3cret@a:1,b:2,c:3/x") == server_lists.amqp_nodes(THREE)
    for one in ("amqp://guest:guest@127.0.0.1:5672//", "amqp://v:p@a/%2Fx?heartbeat=5", "memory://"):
        assert server_lists.amqp_nodes(one) == [one]


def test_no_password_of_any_node_is_shown() -> None:
    assert "s3cret" not in server_lists.without_passwords(THREE)
    assert (
        server_lists.without_passwords("amqp://v:p@a/x;amqp://v:p@b/x") == "amqp://v:**@a/x;amqp://v:**@b/x"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@a:1,b:2/vigil",
        "postgresql+psycopg2://u:p%40ss@/vigil?host=a:1&host=b:2",
        "postgresql://u:p%40ss@/vigil?host=a,b&port=1,2",
    ],
)
def test_several_database_hosts_are_one_connection_string_for_the_one_that_takes_writes(url: str) -> None:
    found = connect_arguments(url)
    assert found == {
        "user": "u",
        "password": "p@ss",
        "dbname": "vigil",
        "host": "a,b",
        "port": "1,2",
        "target_session_attrs": "read-write",
    }


def test_what_the_operator_says_of_the_session_stands() -> None:
    url = "postgresql://u@a,b/vigil?target_session_attrs=primary&sslmode=verify-full"
    found = connect_arguments(url)
    assert (found["target_session_attrs"], found["sslmode"]) == ("primary", "verify-full")
    assert (found["host"], found["port"]) == ("a,b", "5432,5432")


def test_one_database_host_is_left_as_it_is() -> None:
    for url in ("postgresql://u:p@a:1/vigil?sslmode=require", "postgresql://u@/vigil?host=/run/postgresql"):
        assert server_lists.database_of_many(url) == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg2://u:p@127.0.0.1:5/vigil", "127.0.0.1:5"),
        ("postgresql://u:p@a:1,b:2/vigil", "a:1,b:2"),
        ("postgresql+psycopg2://u:p@/vigil?host=a:1&host=b:2", "a:1,b:2"),
        ("postgresql://u:p@/vigil?host=a,b&port=1,2", "a:1,b:2"),
        (THREE, "a:1,b:2,c:3"),
        ("amqp://v:p@a:1,b:2/x", "a:1,b:2"),
        ("redis+sentinel://:p@a:1,b:2/mymaster/0", "a:1,b:2"),
        ("redis://127.0.0.1:6/0", "127.0.0.1:6"),
    ],
)
def test_where_the_servers_are_can_be_shown(url: str, shown: str) -> None:
    assert server_lists.hosts_of(url) == shown


def test_a_sentinel_url_says_where_and_who() -> None:
    found = server_lists.sentinels("redis+sentinel://app:p%2Fw@a:1,b/mymaster/2?sentinel_password=x")
    assert found == server_lists.SentinelAddresses([("a", 1), ("b", 26379)], "mymaster", 2, "app", "p/w", "x")
    bare = server_lists.sentinels("redis+sentinel://a/mymaster")
    assert bare == server_lists.SentinelAddresses([("a", 26379)], "mymaster", 0, None, None, None)
    assert server_lists.sentinels("redis://a/0") is None


@pytest.mark.parametrize(
    "url", ["redis+sentinel://a:1,b:2/", "redis+sentinel:///mymaster", "redis+sentinel://a:x/m/0"]
)
def test_a_sentinel_url_that_cannot_work_is_named(url: str) -> None:
    with pytest.raises(Misconfigured, match="REDIS_URL"):
        server_lists.sentinels(url)
