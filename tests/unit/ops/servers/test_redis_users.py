import hashlib

from ops.servers.privileges import PRIVILEGES, RedisRights
from ops.servers.redis_users import acl_file, rules_of


def test_a_user_has_its_keys_and_commands_and_nothing_else() -> None:
    rules = rules_of(
        RedisRights(read=("feed:*",), write=("hot:*",), commands=("xread", "hset")), prefix="vigil"
    )
    words = rules.split()
    assert words[:3] == ["%R~vigil:feed:*", "%RW~vigil:hot:*", "-@all"]
    assert {"+xread", "+hset", "+ping"} <= set(words)
    assert "~*" not in rules


def test_a_prefix_is_no_pattern() -> None:
    assert "%R~a\\*b\\[c\\]:feed:*" in rules_of(RedisRights(read=("feed:*",)), prefix="a*b[c]")


def test_the_file_holds_hashes_and_closes_the_user_without_a_name() -> None:
    passwords = {name: f"p-{name}" for name, may in PRIVILEGES.items() if may.redis}
    lines = acl_file(passwords, operator_password="secret-of-operators", prefix="vigil").splitlines()
    assert lines[1] == "user default reset off"
    assert "secret-of-operators" not in "".join(lines)
    assert hashlib.sha256(b"secret-of-operators").hexdigest() in lines[0]
    assert [line.split()[1] for line in lines[2:]] == sorted(passwords)
    assert not any("p-" in word.split("#")[0] for line in lines for word in line.split() if "#" in word)


def test_servers_among_themselves_see_no_key() -> None:
    [_, line] = acl_file({}, operator_password="x", servers_password="y", prefix="vigil").splitlines()
    assert line.startswith("user default reset on #")
    assert "~" not in line
    assert "+psync" in line
    assert "+@all" not in line


def test_an_operator_without_a_name_stays_one() -> None:
    made = acl_file({}, operator_password="x", operator="default", servers_password="x", prefix="vigil")
    assert made.splitlines() == [f"user default reset on #{hashlib.sha256(b'x').hexdigest()} ~* &* +@all"]


def test_only_the_writers_of_the_feed_may_add_to_it() -> None:
    adding = {name for name, may in PRIVILEGES.items() if may.redis and "xadd" in may.redis.commands}
    assert adding == {"telemetry", "location", "alerts"}
    for name, may in PRIVILEGES.items():
        if may.redis and name not in adding:
            assert "feed:*" not in may.redis.write
