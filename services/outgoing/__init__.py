"""Requests that leave Vigil: one guarded HTTP client, and the rules of where each kind may go.

| From | URL is written by | Rule |
|---|---|---|
| webhook (`channels/webhook.py`) | tenant | `tenant`: https, public addresses, ports of `notifications.webhook_ports` |
| apprise (`channels/anywhere.py`) | tenant | `tenant`, and the hosts of the service (`services/apprise_urls.py`) |
| both, with `notifications.webhook_private` | tenant | `closed_network`: http, private addresses and any port too |
| Twilio (`channels/twilio.py`) | operator: TWILIO_API_URL | `operator` |
| FCM and Google's tokens (`channels/fcm.py`) | operator: FCM_API_URL, credentials file | `operator` |
| keys of an identity provider (`gateway/noc/auth.py`) | operator: JWT_JWKS_URL | `operator` |
| mail (`channels/smtp.py`) | operator: SMTP_URL | no HTTP: TLS, but for servers of this machine |
| checks of health (`ops/health.py`, `ops/alive.py`) | Vigil | no rule: its own gateway, on loopback |

`operator`: https, or http to this machine; private addresses and any port. In development http to anywhere.
The style of the console's map is fetched by the browser, never by the server.

To add an outgoing call:

1. Choose its rule in `rules.py` and add its line to the table above.
2. Call `Client.request`, or hand `Client.session` to a library that takes a `requests.Session`.
3. Test it with `tests/torture/attacks/test_outgoing.py`: an internal server gets no byte.
"""
