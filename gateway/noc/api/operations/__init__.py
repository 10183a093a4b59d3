"""Operations of the HTTP API, one declaration each, one file per domain. Every file is pure."""
