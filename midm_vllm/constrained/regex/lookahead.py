"""Look-aheads and complements of regular expressions, written without them.

An expression is followed character by character (Antimirov's partial derivatives) to a
deterministic automaton, which is read back as a plain expression by eliminating states. A
look-ahead is a second expression that the rest of the text has to match, or must not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from midm_vllm.constrained import limits
from midm_vllm.constrained.regex.char_sets import (
    EVERY,
    SETS,
    Ranges,
    complement,
    union,
    write_set,
)
from midm_vllm.constrained.regex.parser import (
    Alternation,
    Anchor,
    CharClass,
    Concat,
    Flags,
    Lookahead,
    Node,
    Repeat,
    UnsupportedPattern,
    walk,
)

#: What is left to match, in each of the ways in which that is possible.
_State = frozenset["_Term"]
_EMPTY = Concat()
ANY_TEXT = Repeat(CharClass((), is_negated=True), 0, None)
_TOO_LARGE = "it looks ahead over more than can be followed"


@dataclass(frozen=True)
class _Both:
    """What has to match both expressions."""

    one: "_Term"
    other: "_Term"


@dataclass(frozen=True)
class _Not:
    """What has to match none of the expressions."""

    terms: "frozenset[_Term]"


_Term = Node | _Both | _Not


def plain_pattern(node: Node) -> str:
    """A pattern without look-aheads for the texts that match the node from end to end.

    Raises:
        UnsupportedPattern: It has flags or properties in it, looks ahead inside of what it
            repeats, or is too large.
    """
    states, steps = _automaton(node)
    numbers = {state: number for number, state in enumerate(states)}
    end = len(states)
    ways: dict[int, dict[int, str]] = {number: {} for number in range(-1, end)}
    ways[-1][0] = ""
    for state, leading in steps.items():
        for target, characters in leading.items():
            ways[numbers[state]][numbers[target]] = write_set(characters)
        if any(map(_is_nullable, state)):
            ways[numbers[state]][end] = ""
    _leave_out_dead_ends(ways, end)
    expression = _eliminate_states(ways, end)
    if expression is None:
        raise UnsupportedPattern("it looks ahead, and nothing can match it")
    return f"^(?:{expression})$"


def looks_ahead(node: Node) -> bool:
    """Whether there is a look-ahead in a node."""
    return any(isinstance(each, Lookahead) for each in walk(node))


def whole_text(node: Node) -> Node:
    """The texts somewhere in which a node matches."""
    if isinstance(node, Alternation):
        return Alternation(tuple(map(whole_text, node.ways)))
    from_start = without_start(node)
    rest = to_the_end(from_start)
    return rest if from_start != node else Concat((ANY_TEXT, rest))


def without_start(node: Node) -> Node:
    """What stands at the beginning of a text, without its ``^``."""
    if isinstance(node, Alternation):
        return Alternation(tuple(map(without_start, node.ways)))
    parts = node.parts if isinstance(node, Concat) else (node,)
    return Concat(parts[1:]) if parts[:1] == (Anchor("^"),) else node


def to_the_end(node: Node) -> Node:
    """The texts that begin with what a node matches."""
    if isinstance(node, Alternation):
        return Alternation(tuple(map(to_the_end, node.ways)))
    parts = node.parts if isinstance(node, Concat) else (node,)
    return Concat(parts[:-1] if parts[-1:] == (Anchor("$"),) else (*parts, ANY_TEXT))


def _automaton(node: Node) -> tuple[list[_State], dict[_State, dict[_State, Ranges]]]:
    kinds = _kinds_of_characters(node)
    start: _State = frozenset((node,))
    states: list[_State] = [start]
    steps: dict[_State, dict[_State, Ranges]] = {}
    for state in states:
        leading: dict[_State, Ranges] = {}
        for characters in kinds:
            target = frozenset(
                rest for each in state for rest in _derivative(each, characters[0][0])
            )
            leading[target] = union(leading.get(target, ()), characters)
        steps[state] = leading
        states += [target for target in leading if target not in states]
        terms = max(map(len, leading))
        if len(states) > limits.MAX_AUTOMATON_STATES or terms > limits.MAX_TERMS_PER_STATE:
            raise UnsupportedPattern(_TOO_LARGE)
    return states, steps


def _kinds_of_characters(node: Node) -> list[Ranges]:
    """The characters by the classes of the expression that they are in."""
    sets = [EVERY, *_classes(node)]
    edges = sorted({edge for each in sets for low, high in each for edge in (low, high + 1)})
    kinds: dict[tuple[bool, ...], Ranges] = {}
    for low, after in zip(edges, edges[1:]):
        signature = tuple(_is_in(low, each) for each in sets)
        if signature[0]:
            kinds[signature] = union(kinds.get(signature, ()), ((low, after - 1),))
    return list(kinds.values())


def _classes(node: Node) -> Iterator[Ranges]:
    for each in walk(node):
        if isinstance(each, Flags):
            raise UnsupportedPattern("it looks ahead and has flags")
        if isinstance(each, CharClass):
            yield _ranges(each)


@functools.lru_cache(maxsize=1000)
def _ranges(node: CharClass) -> Ranges:
    found: Ranges = ()
    for item in node.items:
        if isinstance(item, tuple):
            found = union(found, (item,))
        elif item[0] in "pP":
            raise UnsupportedPattern("it looks ahead and asks for a property of characters")
        else:
            ranges = SETS[item.lower()]
            found = union(found, ranges if item.islower() else complement(ranges))
    return complement(found) if node.is_negated else found


def _is_in(code: int, ranges: Ranges) -> bool:
    return any(low <= code <= high for low, high in ranges)


def _is_nullable(node: _Term) -> bool:
    """Whether the empty text matches."""
    if isinstance(node, _Both):
        return _is_nullable(node.one) and _is_nullable(node.other)
    if isinstance(node, _Not):
        return not any(map(_is_nullable, node.terms))
    if isinstance(node, Lookahead):
        return _is_nullable(to_the_end(node.part)) != node.is_negative
    if isinstance(node, Anchor):
        return node.sign == "$"
    if isinstance(node, Concat):
        return all(map(_is_nullable, node.parts))
    if isinstance(node, Alternation):
        return any(map(_is_nullable, node.ways))
    return isinstance(node, Repeat) and (node.least == 0 or _is_nullable(node.part))


def _derivative(term: _Term, code: int) -> set[_Term]:
    """What may be left to match behind a character."""
    if isinstance(term, _Both):
        return {
            _Both(one, other) for one in _derivative(term.one, code)
            for other in _derivative(term.other, code)
        }
    if isinstance(term, _Not):
        return {_Not(frozenset(rest for each in term.terms for rest in _derivative(each, code)))}
    if isinstance(term, CharClass):
        return {_EMPTY} if _is_in(code, _ranges(term)) else set()
    if isinstance(term, Alternation):
        return {left for way in term.ways for left in _derivative(way, code)}
    parts = term.parts if isinstance(term, Concat) else (term,)
    if not parts:
        return set()
    first, rest = parts[0], Concat(parts[1:])
    if asks_for_the_rest(first):
        ways = _with_the_rest(first, rest)
        return {left for way in ways for left in _derivative(way, code)}
    if isinstance(first, Repeat):
        if first.most == 0:
            return _derivative(rest, code)
        most = None if first.most is None else first.most - 1
        after = _then(Repeat(first.part, max(0, first.least - 1), most), rest)
    else:
        after = rest
    inside = first.part if isinstance(first, Repeat) else first
    found: set[_Term] = {
        _then(left, after) for left in _derivative(inside, code)  # type: ignore[arg-type]
    }
    return found | _derivative(rest, code) if _is_nullable(first) and parts[1:] else found


def asks_for_the_rest(node: Node) -> bool:
    """Whether what a node matches depends on what follows."""
    return any(isinstance(each, (Lookahead, Anchor)) for each in walk(node))


def _with_the_rest(first: Node, rest: Node) -> list[_Term]:
    """A part that looks ahead, and the rest of the text that it looks at, as alternatives."""
    if isinstance(first, Anchor):
        if first.sign == "^":
            raise UnsupportedPattern("it looks ahead and asks for its beginning in the middle")
        return []
    if isinstance(first, Lookahead):
        ahead = to_the_end(first.part)
        return [_Both(_Not(frozenset((ahead,))) if first.is_negative else ahead, rest)]
    if isinstance(first, Alternation):
        return [_then(way, rest) for way in first.ways]
    if isinstance(first, Concat):
        return [_then(first, rest)]
    assert isinstance(first, Repeat)
    if (first.least, first.most) != (0, 1):
        raise UnsupportedPattern("it looks ahead inside what is repeated")
    return [_then(first.part, rest), rest]


def _then(first: Node, second: Node) -> Node:
    parts = [
        part for node in (first, second)
        for part in (node.parts if isinstance(node, Concat) else (node,))
    ]
    return parts[0] if len(parts) == 1 else Concat(tuple(parts))


def _leave_out_dead_ends(ways: dict[int, dict[int, str]], end: int) -> None:
    alive = {end}
    while more := {state for state in ways if state not in alive and alive & ways[state].keys()}:
        alive |= more
    for state in list(ways):
        if state not in alive and state != -1:
            del ways[state]
        else:
            ways[state] = {target: way for target, way in ways[state].items() if target in alive}


def _eliminate_states(ways: dict[int, dict[int, str]], end: int) -> str | None:
    """The expression of all ways from state -1 to the end; None where there is none."""
    while len(ways) > 1:
        sources = {
            state: [each for each in ways if state in ways[each] and each != state]
            for state in ways if state != -1
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
    return ways[-1].get(end)
