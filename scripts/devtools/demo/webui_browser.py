"""What a person does in Open WebUI, by a headless browser; run by `webui.py --check`.

`webui_browser.py ADDRESS BROWSER FOLDER` asks what the small checkpoint was taught, looks for
the calls, their arguments and results, and the answers on the page, and saves pictures to the
folder. Exits with a sentence and status 1 if something is missing, or the page met an error.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

from devtools.conversations import BY_NAME
from playwright.sync_api import ConsoleMessage, Error, Page, Response, expect, sync_playwright

TOOL = "넓이"  # As webui.py calls the MCP server.
#: For an answer; far more than it takes, so that a busy machine is no failure.
MILLISECONDS = 900_000.0
WIDTH, HEIGHT = 900, 720
OPENED_HEIGHT = 900  # What two cards and their contents need.


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
    # Each answer that has ended can be asked for again. Until then the page draws its cards anew.
    expect(page.get_by_role("button", name="재생성")).to_have_count(number + 1)
    # And where the button was that stops it, there is the one for talking.
    expect(page.get_by_role("button", name="음성 모드 사용")).to_be_visible()
    # The card of several calls has their number before the tool's name.
    [name] = {call.name for call in calls.calls}
    count = str(len(calls.calls)) if len(calls.calls) > 1 else ""
    expect(block).to_contain_text(re.compile(rf"{count}\s*{name}"))
    if calls.content:
        expect(block).to_contain_text(calls.content)
    print(f"seen: {len(calls.calls)} calls, and the answer {answer.text}", flush=True)


def toggle_cards(page: Page, called: str, number: int) -> None:
    """Open or close the card in the page's answer of this number."""
    [name] = {call.name for call in BY_NAME[called].calls}
    labels = page.locator(".chat-assistant").nth(number).get_by_text(name)
    labels.filter(visible=True).first.click()  # There is another for narrow screens.


def see_contents(page: Page, called: str, answered: str, number: int) -> None:
    """Open the cards in the page's answer of this number; wait for arguments and results."""
    calls = BY_NAME[called].calls
    # Results are the last messages before the answer.
    results = [message["content"] for message in BY_NAME[answered].messages[-len(calls):]]
    block = page.locator(".chat-assistant").nth(number)
    toggle_cards(page, called, number)
    if len(calls) > 1:  # That opened a list of cards.
        cards = block.get_by_text("결과 보기")
        expect(cards).to_have_count(len(calls))
        for card in cards.all():
            card.click()
    expect(block.locator("pre")).to_have_text(results)
    for call in calls:
        rows = [rf"{key} {value}" for key, value in json.loads(call.arguments).items()]
        expect(block).to_contain_text(re.compile(r"\s*".join(map(re.escape, rows))))
    print(f"seen: in the cards, the arguments and results of {len(calls)} calls", flush=True)


def use(page: Page, pictures: Path) -> None:
    def save(name: str) -> None:
        # What moves has arrived in the picture.
        page.screenshot(path=pictures / f"open-webui-{name}.png", animations="disabled")

    page.get_by_role("button", name="시작").click()
    page.locator("#integration-menu-button").click()
    page.get_by_text(re.compile("^도구")).first.click()  # And how many there are.
    page.get_by_text(TOOL, exact=True).first.click()
    save("tools")
    page.keyboard.press("Escape")
    ask(page, "web_parallel_calls")
    see(page, "web_parallel_calls", "web_answer", 0)
    save("answer")
    page.set_viewport_size({"width": WIDTH, "height": OPENED_HEIGHT})
    see_contents(page, "web_parallel_calls", "web_answer", 0)
    save("calls")
    toggle_cards(page, "web_parallel_calls", 0)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    ask(page, "web_follow_up")
    see(page, "web_follow_up", "web_follow_up_answer", 1)
    save("follow-up")
    see_contents(page, "web_follow_up", "web_follow_up_answer", 1)


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
        page = running.new_page(locale="ko-KR", viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(MILLISECONDS)
        expect.set_options(timeout=MILLISECONDS)
        page.on("response", answered)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", said)
        try:
            page.goto(address)
            use(page, Path(folder))
        except (AssertionError, Error) as error:
            errors.insert(0, str(error))
            with contextlib.suppress(Error):  # Of a browser that is still there.
                page.screenshot(path=Path(folder) / "failed.png")
        running.close()
    if errors:
        sys.exit("The page met errors:\n" + "\n".join(errors))


if __name__ == "__main__":
    main()
