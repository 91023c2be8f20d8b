"""The clock of mcp-server-time over streamable HTTP; by itself it speaks over stdin and stdout.

What it is told, it is told by the environment: `CLOCK_TIMEZONE` (an IANA name), `CLOCK_HOST` and
`CLOCK_PORT` to listen on, and `CLOCK_ALLOWED_HOSTS`, the names by which it may be asked, with
commas between them (the protocol's defence against DNS rebinding).
"""

from __future__ import annotations

import os

from mcp.server.transport_security import TransportSecuritySettings
from mcp_server_time.server import create_server


def main() -> None:
    host = os.environ.get("CLOCK_HOST", "0.0.0.0")
    port = int(os.environ.get("CLOCK_PORT", "8000"))
    allowed = os.environ.get("CLOCK_ALLOWED_HOSTS", f"localhost:{port},127.0.0.1:{port}")
    create_server(os.environ.get("CLOCK_TIMEZONE", "Asia/Seoul")).run(
        "streamable-http", host=host, port=port,
        transport_security=TransportSecuritySettings(allowed_hosts=allowed.split(",")),
    )


if __name__ == "__main__":
    main()
