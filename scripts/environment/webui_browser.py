"""What a person does in Open WebUI, by a headless browser; run by `webui.py --check`.

`webui_browser.py ADDRESS BROWSER FOLDER` asks what the small checkpoint was taught, looks for
the calls, their results and the answers on the page, and saves pictures to the folder. Exits with
a sentence and status 1 if something is missing, or the page met an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Error, Page, Response, expect, sync_playwright
from taught_conversations import BY_NAME

TOOL = "넓이"  # As webui.py calls the MCP server.
MILLISECONDS = 240_000.0  # For an answer on a busy machine.
SIZE = {"width": 900, "height": 720}


def ask(page: Page, name: str) -> None:
    """Type the question of a taught conversation, and send it."""
    question = BY_NAME[name].messages[-1]["content"]
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    print(f"asked: {question}", flush=True)


def see(page: Page, called: str, answered: str, number: int) -> None:
    """Wait for a card for each call, and the answer, in the page's answer of this number."""
    calls, answer = BY_NAME[called], BY_NAME[answered]
    block = page.locator(".chat-assistant").nth(number)
    expect(block).to_contain_text(answer.text)
    # The card of several calls has their number before the tool's name.
    [name] = {call.name for call in calls.calls}
    count = str(len(calls.calls)) if len(calls.calls) > 1 else ""
    expect(block).to_contain_text(re.compile(rf"{count}\s*{name}"))
    if calls.content:
        expect(block).to_contain_text(calls.content)
    print(f"seen: {len(calls.calls)} calls, and the answer {answer.text}", flush=True)


def use(page: Page, pictures: Path) -> None:
    page.get_by_role("button", name="시작").click()
    page.locator("#integration-menu-button").click()
    page.get_by_text(re.compile("^도구")).first.click()  # And how many there are.
    page.get_by_text(TOOL, exact=True).first.click()
    page.keyboard.press("Escape")
    ask(page, "web_parallel_calls")
    see(page, "web_parallel_calls", "web_answer", 0)
    page.screenshot(path=pictures / "open-webui-answer.png")
    ask(page, "web_follow_up")
    see(page, "web_follow_up", "web_follow_up_answer", 1)
    page.screenshot(path=pictures / "open-webui-follow-up.png")


def main() -> None:
    address, browser, folder = sys.argv[1:]
    errors: list[str] = []

    def answered(response: Response) -> None:
        if response.status >= 400:
            errors.append(f"{response.status} {response.url}")

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = running.new_page(locale="ko-KR", viewport=SIZE)
        page.set_default_timeout(MILLISECONDS / 4)
        expect.set_options(timeout=MILLISECONDS)
        page.on("response", answered)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", said)
        try:
            page.goto(address)
            use(page, Path(folder))
        except (AssertionError, Error) as error:
            page.screenshot(path=Path(folder) / "failed.png")
            errors.insert(0, str(error))
        running.close()
    if errors:
        sys.exit("The page met errors:\n" + "\n".join(errors))


if __name__ == "__main__":
    main()
