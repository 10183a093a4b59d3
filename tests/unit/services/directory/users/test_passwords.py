from services.directory.users import passwords


def test_a_password_matches_itself_only_and_nobody_matches_none() -> None:
    stored = passwords.hash_password("correct horse")
    assert passwords.matches("correct horse", stored)
    assert not passwords.matches("wrong", stored)
    assert not passwords.matches("correct horse", None)
