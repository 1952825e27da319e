"""A token endpoint for the image's test: rotates, punishes reuse, answers late when asked to.

    endpoint.py FOLDER      # FOLDER holds cert.pem and key.pem; its port is written to FOLDER/port

Every request is a line in FOLDER/requests, written when it has arrived: "name ok", "name reuse". While FOLDER/hold is
there, answers wait for it to go.
"""

import http.server
import json
import os
import ssl
import sys
import time
import urllib.parse

folder = sys.argv[1]
current = {}  # client -> the refresh token that is good


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = dict(urllib.parse.parse_qsl(body))
        name, sent = form["client_id"], form["refresh_token"]
        good = sent == current.get(name, f"seed-{name}")
        with open(f"{folder}/requests", "a") as requests:
            requests.write(f"{name} {'ok' if good else 'reuse'}\n")
        number = int(current.get(name, "r-0-0").rsplit("-", 1)[1]) + 1
        if good:
            current[name] = f"r-{name}-{number}"
        # Rotated; the answer is on its way for a while.
        while os.path.exists(f"{folder}/hold"):
            time.sleep(0.05)
        answer = {"error": "invalid_grant"}
        if good:
            answer = {
                "access_token": f"key-{name}-{number}",
                "refresh_token": current[name],
                "token_type": "Bearer",
                "expires_in": 3600,
            }
        data = json.dumps(answer).encode()
        self.send_response(200 if good else 400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(f"{folder}/port.part", "w") as port:
    port.write(str(server.server_address[1]))
os.rename(f"{folder}/port.part", f"{folder}/port")
server.serve_forever()
