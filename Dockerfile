# One image for every process of Vigil: `python -m ops.run NAME`, and `vigil ...` for operators.
# Nothing is written within it: run it with a read-only root, volumes at the directories below, and a tmpfs at /tmp.

FROM python:3.11.15-slim-bookworm AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements.lock ./
RUN python -m pip wheel --no-deps --require-hashes --only-binary :all: --wheel-dir /build/wheels -r requirements.lock
RUN python -m venv /opt/venv && /opt/venv/bin/python -m pip install --no-index --no-deps /build/wheels/*.whl
COPY . /srv/vigil
RUN /opt/venv/bin/python -m pip install --no-index --no-deps --no-build-isolation -e /srv/vigil -e /srv/vigil/sdk/python
RUN /opt/venv/bin/python -m compileall -q /srv/vigil /opt/venv/lib

FROM python:3.11.15-slim-bookworm AS runtime
LABEL org.opencontainers.image.title="Vigil" \
      org.opencontainers.image.description="Message bus and control-room backend for companies that guard people and places" \
      org.opencontainers.image.version="0.6.0"
RUN groupadd --gid 10001 vigil && useradd --uid 10001 --gid 10001 --home-dir /var/lib/vigil --no-create-home --shell /usr/sbin/nologin vigil
# A new volume takes the owner of the directory that it is put on.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/vigil /var/lib/vigil-edge /var/lib/vigil-broker /var/lib/vigil-authority /var/lib/vigil-trust /var/backups/vigil /var/backups/vigil-keys /run/vigil /run/vigil-metrics /run/vigil-restarts
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /srv/vigil /srv/vigil
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONWARNINGS=ignore::DeprecationWarning \
    VIGIL_HOME=/var/lib/vigil \
    VIGIL_RUNTIME_DIR=/run/vigil \
    VIGIL_RESTART_DIR=/run/vigil-restarts \
    VIGIL_SERVER_HOST=0.0.0.0 \
    VIGIL_ENV=production
WORKDIR /srv/vigil
USER 10001:10001
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "ops.hosting.liveness", "noc_api", "http://127.0.0.1:8002/healthz"]
CMD ["python", "-m", "ops.run", "noc_api"]

# For operators' commands: besides, the client programs of the Compose file's PostgreSQL, by which backups are made.
# Debian's own are of an older version than the server; PostgreSQL's repository is set up by a script of Debian's package.
FROM runtime AS operator
USER 0:0
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install -y --no-install-recommends postgresql-client-18 \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["vigil"]
CMD ["--help"]
