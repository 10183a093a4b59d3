"""Requests that leave Vigil: one guarded HTTP client, and the rules of where each kind may go.

Each kind of request has one writer of its URL, and one rule:

- webhook (`channels/webhook.py`): the tenant writes the URL; rule `tenant`.
- apprise (`channels/apprise.py`): the tenant writes the URL; rule `tenant`, and the hosts of the
  service (`services/outgoing/apprise_urls.py`).
- both, with `notifications.webhook_private`: the tenant writes the URL; rule `closed_network`.
- SMS providers (`channels/sms_providers.py`): the operator writes <PROVIDER>_API_URL; rule
  `operator`.
- FCM and Google's tokens (`channels/fcm.py`): the operator writes FCM_API_URL and the credentials
  file; rule `operator`.
- keys of an identity provider (`gateway/noc/auth/tokens.py`): the operator writes JWT_JWKS_URL;
  rule `operator`.
- mail (`channels/smtp.py`): the operator writes SMTP_URL; no HTTP, but TLS, except for servers of
  this machine.
- checks of health (`ops/checks/health.py`, `ops/hosting/liveness.py`): Vigil's own gateway, on
  loopback; no rule.

The rules:

- `tenant`: https, public addresses, ports of `notifications.webhook_ports`.
- `closed_network`: as `tenant`, and also http, private addresses and any port.
- `operator`: https, or http to this machine; private addresses and any port. In development http to
  anywhere.

The browser fetches the style of the console's map; the server never does.

To add an outgoing call:

1. Choose its rule in `rules.py` and add its line to the list above.
2. Call `Client.request`, or hand `Client.session` to a library that takes a `requests.Session`.
3. Test it with `tests/torture/attacks/test_outgoing.py`: an internal server gets no byte.
"""
