"""Mail servers for tests/smtp.rs: without TLS, with STARTTLS, with TLS from the first byte.

The first line of output has their ports; every mail that one of them takes is a line more. They end with their input.
Usage: mail_server.py CERTIFICATE KEY USER PASSWORD
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

certificate, key, user, password = sys.argv[1:]


def say(value):
    print(json.dumps(value), flush=True)


class Inbox:
    def __init__(self, name):
        self.name = name

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say({
            "server": self.name,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "authenticated": bool(session.authenticated),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name: str(value) for name, value in mail.items()},
            "body": mail.get_content(),
        })
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    # What is not handled here the server answers by itself: 535.
    return AuthResult(success=good, handled=good)


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    known = {"authenticator": authenticate, "auth_required": True}
    servers = {
        "none": ({}, None),
        "starttls": ({"tls_context": tls, "require_starttls": True, **known}, None),
        "implicit": ({"auth_require_tls": False, **known}, tls),
    }
    loop, ports = asyncio.get_running_loop(), {}
    for name, (options, context) in servers.items():
        make = lambda name=name, options=options: SMTP(Inbox(name), enable_SMTPUTF8=True, **options)
        server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
        ports[name] = server.sockets[0].getsockname()[1]
    say(ports)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
