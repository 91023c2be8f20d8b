"""Patterns with look-aheads, written without them.

With look-aheads, a pattern is a language of unions and complements. Its Brzozowski derivatives are
the states of a deterministic automaton, which is read back as a plain pattern by eliminating
states. No library does both within 100 ms: ``greenery`` takes up to 1.8 s for what generators of
schemas write, ``interegular`` does not print a pattern.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from midm_vllm.constrained import limits
from midm_vllm.constrained.regex import char_sets
from midm_vllm.constrained.regex.char_sets import EVERY, SETS, Ranges
from midm_vllm.constrained.regex.parser import (
    Alternation,
    Anchor,
    CharClass,
    Concat,
    Lookahead,
    Node,
    Repeat,
    UnsupportedPattern,
    walk,
)


@dataclass(frozen=True)
class _Then:
    """Texts that begin with what ``first`` matches, and go on as those of another language."""

    first: CharClass | Repeat
    rest: "_Language"


@dataclass(frozen=True)
class _Union:
    languages: "frozenset[_Language]"


@dataclass(frozen=True)
class _Complement:
    language: "_Language"


@dataclass(frozen=True)
class _EmptyText:
    pass


_Language = _Then | _Union | _Complement | _EmptyText
_EMPTY = _EmptyText()
_NOTHING = _Union(frozenset())
_ANYTHING = _Complement(_NOTHING)
_ANY_CHARACTERS = Repeat(CharClass((), is_negated=True), 0, None)
_TOO_LARGE = "it looks ahead over more than can be followed"


def has_lookahead(node: Node) -> bool:
    """Whether there is a look-ahead in a node."""
    return any(isinstance(each, Lookahead) for each in walk(node))


def without_lookaheads(node: Node) -> str:
    """Return a pattern for the texts somewhere in which the node matches.

    Raises:
        UnsupportedPattern: It has properties in it, repeats what can be empty, or is too
            large.
    """
    states = _build_automaton(_search(node), _kinds_of_characters(node))
    ways: dict[_Language | None, dict[_Language | str, str]] = {None: {next(iter(states)): ""}}
    for state, leading in states.items():
        ways[state] = {target: char_sets.write_set(each) for target, each in leading.items()}
        if _is_nullable(state):
            ways[state]["end"] = ""
    expression = _eliminate_states(ways)
    if expression is None:
        raise UnsupportedPattern("it looks ahead, and nothing can match it")
    return f"^(?:{expression})$"


def _search(node: Node) -> _Language:
    """The texts somewhere in which a node matches."""
    if isinstance(node, Alternation):
        return _union(*map(_search, node.ways))
    if isinstance(node, Concat) and node.parts[:1] == (Anchor("^"),):
        return _language(node, _ANYTHING, is_start=True)
    return _Then(_ANY_CHARACTERS, _language(node, _ANYTHING))


def _language(node: Node, rest: _Language, is_start: bool = False) -> _Language:
    """The texts that begin with what a node matches, and go on as those of ``rest``."""
    if isinstance(node, Concat):
        for number in reversed(range(len(node.parts))):
            before = node.parts[:number]
            rest = _language(node.parts[number], rest, is_start and all(
                isinstance(each, (Anchor, Lookahead)) for each in before
            ))
        return rest
    if isinstance(node, Alternation):
        return _union(*(_language(way, rest, is_start) for way in node.ways))
    if isinstance(node, Lookahead):
        ahead = _language(node.part, _ANYTHING, is_start)
        return _intersection(_complement(ahead) if node.is_negative else ahead, rest)
    if isinstance(node, Anchor):
        if node.sign == "$":
            return _EMPTY if _is_nullable(rest) else _NOTHING
        if not is_start:
            raise UnsupportedPattern("it looks ahead and asks for its beginning in the middle")
        return rest
    if isinstance(node, Repeat) and node.most == 0:
        return rest
    return _NOTHING if rest == _NOTHING else _Then(node, rest)


def _once_more(repeat: Repeat, rest: _Language) -> _Language:
    """What is repeated once, and then the rest of its repetitions."""
    most = None if repeat.most is None else repeat.most - 1
    others = replace(repeat, least=max(0, repeat.least - 1), most=most)
    return _language(repeat.part, _language(others, rest))


def _union(*languages: _Language) -> _Language:
    united = frozenset(
        inner for each in languages
        for inner in (each.languages if isinstance(each, _Union) else (each,))
    )
    if _ANYTHING in united:
        return _ANYTHING
    return next(iter(united)) if len(united) == 1 else _Union(united)


def _intersection(one: _Language, other: _Language) -> _Language:
    return _complement(_union(_complement(one), _complement(other)))


def _complement(language: _Language) -> _Language:
    return language.language if isinstance(language, _Complement) else _Complement(language)


def _is_nullable(language: _Language) -> bool:
    """Whether the empty text is in a language."""
    if isinstance(language, _Then):
        if isinstance(language.first, CharClass):
            return False
        if language.first.least:
            return _is_nullable(_once_more(language.first, language.rest))
        return _is_nullable(language.rest)
    if isinstance(language, _Union):
        return any(map(_is_nullable, language.languages))
    if isinstance(language, _Complement):
        return not _is_nullable(language.language)
    return True


def _derivative(language: _Language, code: int) -> _Language:
    """How texts of a language go on that begin with a character."""
    if isinstance(language, _Then):
        first, rest = language.first, language.rest
        if isinstance(first, CharClass):
            return rest if char_sets.contains(_ranges(first), code) else _NOTHING
        if first.most is None and _is_nullable(_language(first.part, _EMPTY)):
            raise UnsupportedPattern("it looks ahead and repeats what can be empty")
        more = _derivative(_once_more(first, rest), code)
        return more if first.least else _union(more, _derivative(rest, code))
    if isinstance(language, _Union):
        return _union(*(_derivative(each, code) for each in language.languages))
    if isinstance(language, _Complement):
        return _complement(_derivative(language.language, code))
    return _NOTHING


def _build_automaton(
    start: _Language, kinds: list[Ranges]
) -> dict[_Language, dict[_Language | str, Ranges]]:
    """Of each state, the states that follow it, and by which characters."""
    states: dict[_Language, dict[_Language | str, Ranges]] = {}
    pending = [start]
    while pending:
        state = pending.pop()
        if state in states:
            continue
        if len(states) == limits.MAX_AUTOMATON_STATES:
            raise UnsupportedPattern(_TOO_LARGE)
        leading = states[state] = {}
        for characters in kinds:
            target = _derivative(state, characters[0][0])
            if target not in leading and target != _NOTHING:
                pending.append(target)
            leading[target] = char_sets.union(leading.get(target, ()), characters)
        leading.pop(_NOTHING, None)
    return states


def _kinds_of_characters(node: Node) -> list[Ranges]:
    """The characters by the classes of the expression that they are in."""
    sets = [EVERY, *(_ranges(each) for each in walk(node) if isinstance(each, CharClass))]
    edges = sorted({edge for each in sets for low, high in each for edge in (low, high + 1)})
    kinds: dict[tuple[bool, ...], Ranges] = {}
    for low, after in zip(edges, edges[1:]):
        signature = tuple(char_sets.contains(each, low) for each in sets)
        if signature[0]:
            kinds[signature] = char_sets.union(kinds.get(signature, ()), ((low, after - 1),))
    return list(kinds.values())


@functools.lru_cache(maxsize=1000)
def _ranges(node: CharClass) -> Ranges:
    found: Ranges = ()
    for item in node.items:
        if isinstance(item, tuple):
            found = char_sets.union(found, (item,))
        elif item[0] in "pP":
            raise UnsupportedPattern("it looks ahead and asks for a property of characters")
        else:
            ranges = SETS[item.lower()]
            found = char_sets.union(
                found, ranges if item.islower() else char_sets.complement(ranges)
            )
    return char_sets.complement(found) if node.is_negated else found


def _eliminate_states(ways: dict[_Language | None, dict[_Language | str, str]]) -> str | None:
    """The expression of all ways from the state None to "end"; None where there is none."""
    while len(ways) > 1:
        sources = {
            state: [each for each in ways if state in ways[each] and each != state]
            for state in ways if state is not None
        }
        state = min(sources, key=lambda each: len(sources[each]) * len(ways[each]))
        leading = ways.pop(state)
        loop = leading.pop(state, "")
        around = f"(?:{loop})*" if loop else ""
        for source in sources[state]:
            to_state = ways[source].pop(state)
            for target, rest in leading.items():
                way = f"{to_state}{around}{rest}"
                known = ways[source].get(target)
                ways[source][target] = way if known is None else f"(?:{known}|{way})"
                if len(ways[source][target]) > limits.MAX_EXPRESSION_LENGTH:
                    raise UnsupportedPattern(_TOO_LARGE)
    return ways[None].get("end")
