"""An MCP server with one tool, convert_area: over stdio, or over HTTP with `--http PORT`.

    python mcp_area_server.py                 # a client starts it and talks to it over pipes
    python mcp_area_server.py --http 9000     # clients connect to http://127.0.0.1:9000/mcp
"""

from __future__ import annotations

import argparse

from area_tool import DESCRIPTION, NAME, PARAMETERS, converted_area
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool

tool = Tool.from_function(converted_area, NAME, description=DESCRIPTION, structured_output=False)
tool.parameters = PARAMETERS  # The schema made of the function has a title for everything.
server = MCPServer("area", tools=[tool])


def main() -> None:
    parser = argparse.ArgumentParser(description="An MCP server that converts areas.")
    parser.add_argument("--http", type=int, metavar="PORT", help="on 127.0.0.1; default: stdio")
    port = parser.parse_args().http
    if port is None:
        server.run()
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
