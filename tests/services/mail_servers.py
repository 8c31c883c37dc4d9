"""A mail server on this machine, which answers what a test tells it to."""

import base64
import socketserver
import threading
from types import TracebackType
from typing import Any


class MailServer:
    """Takes mail over SMTP. `answers` says what it replies to a command instead; `taken` are the mails it took."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.taken: list[bytes] = []
        # Which passwords sign in; empty: nobody has to.
        self.passwords: set[str] = set()
        outer = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 localhost\r\n")
                while line := self.rfile.readline():
                    word = line.split()[0].decode().upper() if line.split() else ""
                    if word in outer.answers:
                        self.wfile.write(outer.answers[word] + b"\r\n")
                    elif word == "EHLO" and outer.passwords:
                        self.wfile.write(b"250-localhost\r\n250 AUTH PLAIN\r\n")
                    elif word == "AUTH":
                        given = base64.b64decode(line.split()[2]).decode().split("\0")[2]
                        self.wfile.write(b"235 Come in\r\n" if given in outer.passwords else b"535 No\r\n")
                    elif word == "DATA":
                        self.wfile.write(b"354 Go on\r\n")
                        outer.taken.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                        self.wfile.write(b"250 Taken\r\n")
                    elif word == "QUIT":
                        self.wfile.write(b"221 Bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 localhost\r\n")

        self.server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]

    def __enter__(self) -> "MailServer":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
