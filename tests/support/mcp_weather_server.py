"""An MCP server over stdio with the tool of the taught questions about weather."""

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool

# A client starts it with nothing of its own environment.
sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from devtools.conversations import GET_WEATHER  # noqa: E402

WEATHER = {"서울": "맑음, 21도", "부산": "비, 17도"}


def get_weather(city: str, unit: str) -> str:
    return WEATHER[city]


tool = Tool.from_function(
    get_weather, description=GET_WEATHER["function"]["description"], structured_output=False
)
tool.parameters = GET_WEATHER["function"]["parameters"]
MCPServer("weather", tools=[tool]).run()
