"""Regular languages that can be intersected and denied, and said as plain regular expressions.

A language is a number, made by the methods of :class:`Languages`. What no regular expression
says as it is, an intersection or a complement, is followed character by character (Brzozowski's
derivatives) until no new language comes, and what was found read back as an expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: A set of characters: code points from, to; in order, and with space between.
Ranges = tuple[tuple[int, int], ...]
#: What a JSON string can hold: without halves of characters.
EVERY: Ranges = ((0, 0xD7FF), (0xE000, 0x10FFFF))
#: Control characters that JSON has no letter for; see ``patterns``.
_CONTROLS: Ranges = ((0, 7), (0x0B, 0x0B), (0x0E, 0x1F))
_LONGEST = 4000


class TooLarge(ValueError):
    """A language that takes more states, or more text, than there is room for."""


def union(*sets: Ranges) -> Ranges:
    """The characters that are in one of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(each for one in sets for each in one):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(characters: Ranges) -> Ranges:
    """The characters that are not in the set."""
    result = []
    for first, last in EVERY:
        for low, high in characters:
            if low > last or high < first:
                continue
            if low > first:
                result.append((first, low - 1))
            first = high + 1
        if first <= last:
            result.append((first, last))
    return tuple(result)


class Languages:
    """Languages over characters of which ``sets`` are told apart, each with how it is written.

    "" where it is to be written as its characters. ``steps`` counts the work.
    """

    def __init__(self, sets: Mapping[Ranges, str], most_steps: int) -> None:
        self.steps = 0
        self._most = most_steps
        edges = sorted({low for each in sets for low, _ in each}
                       | {high + 1 for each in sets for _, high in each} | {0, 0xD800, 0xE000})
        #: Characters that are in the same sets, by the sets that they are in.
        alike: dict[int, list[tuple[int, int]]] = {}
        signs = dict.fromkeys(edges, 0)
        for number, each in enumerate(sets):
            starts = {low for low, _ in each}
            ends = {high + 1 for _, high in each}
            inside = False
            for edge in edges:
                inside = (inside and edge not in ends) or edge in starts
                signs[edge] |= inside << number
        for edge, after in zip(edges, [*edges[1:], 0x110000]):
            if edge != 0xD800 and edge < 0x110000:
                alike.setdefault(signs[edge], []).append((edge, after - 1))
        self._kinds = [tuple(ranges) for ranges in alike.values()]
        self._masks = {
            each: sum(1 << kind for kind, sign in enumerate(alike) if sign >> number & 1)
            for number, each in enumerate(sets)
        }
        self._written_as = {self._masks[each]: text for each, text in sets.items() if text}
        self._full = (1 << len(self._kinds)) - 1
        self._nodes: list[tuple[str, tuple[int, ...]]] = []
        self._with_empty: dict[int, bool] = {}
        self._opaque: list[str] = []
        self._ids: dict[tuple[str, tuple[int, ...]], int] = {}
        self._derived: dict[tuple[int, int], int] = {}
        self.none = self._node("set", 0)
        self.empty = self._node("empty")
        self.anything = self._node("times", self._node("set", self._full), 0, -1)

    def _node(self, kind: str, *parts: int) -> int:
        key = (kind, parts)
        if key not in self._ids:
            self._ids[key] = len(self._nodes)
            self._nodes.append(key)
        return self._ids[key]

    # What languages are made of.

    def characters(self, ranges: Ranges) -> int:
        """One character of a set, which is one of those given at the beginning."""
        return self._node("set", self._masks[ranges])

    def opaque(self, text: str) -> int:
        """What an expression says of which nothing is known; it cannot be followed."""
        if text not in self._opaque:
            self._opaque.append(text)
        return self._node("opaque", self._opaque.index(text))

    def then(self, first: int, second: int) -> int:
        """A text of the first, and one of the second behind it."""
        if self.none in (first, second):
            return self.none
        if first == self.empty or second == self.empty:
            return second if first == self.empty else first
        row = self._row(first)
        for each in reversed(row):
            second = self._node("then", each, second)
        return second

    def _row(self, language: int) -> list[int]:
        """What stands one behind the other in it."""
        row = []
        while self._nodes[language][0] == "then":
            first, language = self._nodes[language][1]
            row.append(first)
        return [*row, language]

    def either(self, languages: Iterable[int]) -> int:
        """What is in one of the languages."""
        members, masks = self._members("either", languages)
        mask = 0
        for each in masks:
            mask |= each
        if self.anything in members:
            return self.anything
        if mask or not members:
            members.add(self._node("set", mask))
        return members.pop() if len(members) == 1 else self._node("either", *sorted(members))

    def both(self, languages: Iterable[int]) -> int:
        """What is in all of the languages."""
        members, masks = self._members("both", languages)
        members.discard(self.anything)
        if masks:
            mask = self._full
            for each in masks:
                mask &= each
            members.add(self._node("set", mask))
        if self.none in members:
            return self.none
        if self.empty in members:
            return self.empty if all(map(self.has_empty, members)) else self.none
        if not members:
            return self.anything
        return members.pop() if len(members) == 1 else self._node("both", *sorted(members))

    def _members(self, kind: str, languages: Iterable[int]) -> tuple[set[int], list[int]]:
        """The languages, out of what already joins some in that way; sets of characters apart."""
        members: set[int] = set()
        for language in languages:
            own, parts = self._nodes[language]
            members |= set(parts) if own == kind else {language}
        masks = [self._nodes[each][1][0] for each in members if self._nodes[each][0] == "set"]
        return {each for each in members if self._nodes[each][0] != "set"}, masks

    def but(self, language: int) -> int:
        """What is not in the language."""
        if language in (self.none, self.anything):
            return self.anything if language == self.none else self.none
        kind, parts = self._nodes[language]
        return parts[0] if kind == "but" else self._node("but", language)

    def times(self, language: int, least: int, most: int | None) -> int:
        """The language so many times; without end where ``most`` is None."""
        if most == 0 or language == self.empty:
            return self.empty
        if (least, most) == (1, 1) or language == self.anything:
            return language
        return self._node("times", language, least, -1 if most is None else most)

    # What is asked of them.

    def has_empty(self, language: int) -> bool:
        """Whether the empty text is in the language."""
        if language not in self._with_empty:
            self._with_empty[language] = self._has_empty(*self._nodes[language])
        return self._with_empty[language]

    def _has_empty(self, kind: str, parts: tuple[int, ...]) -> bool:
        if kind == "then" or kind == "both":
            return all(map(self.has_empty, parts))
        if kind == "either":
            return any(map(self.has_empty, parts))
        if kind == "times":
            return parts[1] == 0 or self.has_empty(parts[0])
        return not self.has_empty(parts[0]) if kind == "but" else kind == "empty"

    def after(self, language: int, character: int) -> int:
        """What may follow where a text of the language begins with a kind of characters."""
        key = (language, character)
        if key not in self._derived:
            self.steps += len(self._nodes[language][1])
            if self.steps > self._most:
                raise TooLarge
            self._derived[key] = self._after(language, character)
        return self._derived[key]

    def _after(self, language: int, character: int) -> int:
        kind, parts = self._nodes[language]
        if kind == "set":
            return self.empty if parts[0] >> character & 1 else self.none
        if kind == "then":
            first = self.then(self.after(parts[0], character), parts[1])
            if not self.has_empty(parts[0]):
                return first
            return self.either([first, self.after(parts[1], character)])
        if kind == "either":
            return self.either([self.after(part, character) for part in parts])
        if kind == "both":
            return self.both([self.after(part, character) for part in parts])
        if kind == "but":
            return self.but(self.after(parts[0], character))
        if kind == "times":
            inner, least, most = parts
            left = self.times(inner, max(0, least - 1), None if most < 0 else most - 1)
            return self.then(self.after(inner, character), left)
        if kind == "opaque":
            raise TooLarge
        return self.none

    # As an expression.

    def expression(self, language: int) -> str | None:
        """A regular expression for a whole text, without anchors; None where there is no text."""
        text, _ = self._written(language)
        if text is not None and len(text) > _LONGEST:
            raise TooLarge
        return text

    def _written(self, language: int) -> tuple[str | None, int]:
        """The expression, and how it holds together: 0 as a choice, 1 as a row, 2 as one."""
        kind, parts = self._nodes[language]
        if language == self.none:
            return None, 2
        if kind == "empty":
            return "", 1
        if kind == "set":
            return self._class(parts[0]), 2
        if kind == "opaque":
            return self._opaque[parts[0]], 2
        if kind == "then":
            return _in_a_row(*map(self._written, self._row(language)))
        if kind == "either":
            return _choice([self._written(part) for part in parts])
        if kind == "times":
            return _repeated(self._written(parts[0]), *parts[1:])
        return self._followed(language)

    def _class(self, mask: int) -> str:
        if mask in self._written_as:
            return self._written_as[mask]
        ranges = union(*(
            ranges for kind, ranges in enumerate(self._kinds) if mask >> kind & 1
        ))
        if ranges == EVERY:
            return "(?s:.)"
        has = [any(low <= ord(each) <= high for low, high in ranges) for each in '"\\']
        if not all(has):
            ranges = complement(union(complement(ranges), _CONTROLS))
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            return _character(ranges[0][0])
        listed, negated = ranges, ""
        if ranges and ranges[-1][1] == 0x10FFFF:
            listed, negated = complement(ranges), "^"
        return f"[{negated}{''.join(map(_range, listed))}]" if listed else "[a&&b]"

    def _followed(self, start: int) -> tuple[str | None, int]:
        ways = self._automaton(start)
        while len(ways) > 2:
            # The state first that is passed in the fewest ways, of the shortest text.
            weights = {state: 0 for state in ways if state not in (-1, -2)}
            coming: dict[int, list[int]] = {state: [] for state in ways}
            for state, leading in ways.items():
                for target in leading:
                    coming[target].append(state)
            for state in weights:
                into = [each for each in coming[state] if each != state]
                out = [each for each in ways[state] if each != state]
                own = len(ways[state].get(state, ("", 2))[0] or "")
                weights[state] = (
                    sum(len(ways[each][state][0] or "") for each in into) * (len(out) - 1)
                    + sum(len(ways[state][each][0] or "") for each in out) * (len(into) - 1)
                    + own * (len(into) * len(out) - 1)
                )
            state = min(weights, key=lambda each: weights[each])
            leading = ways.pop(state)
            around = leading.pop(state, None)
            middle = _repeated(around, 0, -1) if around else ("", 1)
            for source in coming[state]:
                if source == state:
                    continue
                into_it = _in_a_row(ways[source].pop(state), middle)
                for target, rest in leading.items():
                    way = _in_a_row(into_it, rest)
                    known = ways[source].get(target)
                    ways[source][target] = _choice([known, way]) if known else way
                    if len(ways[source][target][0] or "") > _LONGEST:
                        raise TooLarge
        return ways[-1].get(-2, (None, 2))

    def _automaton(self, start: int) -> dict[int, dict[int, tuple[str | None, int]]]:
        """State -> the states that it leads to, and by which characters.

        The first is -1, the last -2; those from which nothing leads to the last are left out.
        """
        masks: dict[int, dict[int, int]] = {}
        ahead = [start]
        while ahead:
            state = ahead.pop()
            if state in masks:
                continue
            masks[state] = {}
            for kind in range(len(self._kinds)):
                target = self.after(state, kind)
                if target != self.none:
                    masks[state][target] = masks[state].get(target, 0) | 1 << kind
            ahead += masks[state]
        alive = {state for state in masks if self.has_empty(state)}
        while more := {state for state in masks.keys() - alive if alive & masks[state].keys()}:
            alive |= more
        ways: dict[int, dict[int, tuple[str | None, int]]] = {
            state: {target: (self._class(mask), 2) for target, mask in leading.items()
                    if target in alive}
            for state, leading in masks.items() if state in alive
        }
        for state in alive:
            if self.has_empty(state):
                ways[state][-2] = ("", 1)
        return {**ways, -1: {start: ("", 1)} if start in alive else {}, -2: {}}


# Expressions as `Languages._written` gives them.


def _in_a_row(*parts: tuple[str | None, int]) -> tuple[str | None, int]:
    texts = []
    for text, holds in parts:
        if text is None:
            return None, 2
        if text:
            texts.append((text, holds))
    if len(texts) == 1:
        return texts[0]
    return "".join(text if holds else f"(?:{text})" for text, holds in texts), 1


def _choice(parts: Iterable[tuple[str | None, int]]) -> tuple[str | None, int]:
    known = {text: holds for text, holds in parts if text is not None}
    texts = [text for text in known if text]
    if not texts:
        return ("", 1) if known else (None, 2)
    if len(texts) == 1:
        one = texts[0], known[texts[0]]
        return _repeated(one, 0, 1) if "" in known else one
    joined = "|".join(texts)
    return (f"(?:{joined})?", 2) if "" in known else (joined, 0)


def _repeated(part: tuple[str | None, int], least: int, most: int) -> tuple[str | None, int]:
    text, holds = part
    if not text:
        return ("", 1) if text == "" or not least else (None, 2)
    sign = {(0, -1): "*", (1, -1): "+", (0, 1): "?"}.get((least, most)) or (
        f"{{{least},{'' if most < 0 else most}}}"
    )
    is_one = holds == 2 and text[-1] not in "*+?}"
    return (f"{text}{sign}" if is_one else f"(?:{text}){sign}"), 2


def _range(ends: tuple[int, int]) -> str:
    low, high = map(_character, ends)
    return low if low == high else f"{low}-{high}"


def _character(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else rf"\u{{{code:x}}}"
