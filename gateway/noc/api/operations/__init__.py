"""Operations of the HTTP API, one declaration each. Every file is pure."""
