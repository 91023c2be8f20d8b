"""Which of JSON Schema's formats of texts are enforced, and as what.

As narrow as the standard that each names (RFC 3339, 1123, 5321, 3986, 6570, 6901), or narrower:
what a validator in Python or JavaScript may refuse is not written either. Others are not
enforced, and that is not reported: the standard permits it.
"""

from __future__ import annotations

from typing import NamedTuple

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = (
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
)
#: Days that there are: the 29th of February in leap years, no year 0.
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3])"
#: Without leap seconds, which are no time in most programs.
_TIME = rf"{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+-]{_HOUR}:[0-5][0-9])"
#: 63 characters at most; with -- at the third place stands what is encoded (xn--), and may be so
#: wrongly.
_LABEL = (
    "[A-Za-z0-9](?:[A-Za-z0-9]|[A-Za-z0-9-](?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,59}[A-Za-z0-9])?"
    "|-[A-Za-z0-9](?:[A-Za-z0-9-]{0,58}[A-Za-z0-9])?))?"
)
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
_WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_UNRESERVED = "A-Za-z0-9._~!$&'()*+,;="
_ENCODED = "%[0-9A-Fa-f]{2}"
_REST = rf"(?:[{_UNRESERVED}:@/?-]|{_ENCODED})*"
#: A path begins with two slashes only behind an authority, here without a user or brackets, and
#: has no colon in its first segment unless a scheme is before it.
_SEGMENT = rf"(?:[{_UNRESERVED}@-]|{_ENCODED})"
_PATH = rf"(?:/?{_SEGMENT}+(?:/(?:{_SEGMENT}|:)*)*|/)?"
_AUTHORITY = rf"//(?:[A-Za-z0-9._~-]|{_ENCODED})*(?::[0-9]{{0,5}})?(?:/(?:{_SEGMENT}|:)*)*"
_REFERENCE = (
    rf"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?:{_AUTHORITY}|{_PATH})(?:\?{_REST})?(?:#{_REST})?$"
)
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"

UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_HOSTNAMES = (f"^{_HOSTNAME}$", "^.{1,253}$")
_ADDRESSES = (rf"^{_WORD}(?:\.{_WORD})*@{_HOSTNAME}$", "^[^@]{1,64}@.{1,185}$")


class Format(NamedTuple):
    """How a format is enforced: as llguidance's of a name, or by patterns that all match."""

    #: What it costs llguidance.
    nodes: int
    name: str = ""
    patterns: tuple[str, ...] = ()


FORMATS = {
    "date": Format(5, patterns=(f"^{_DATE}$",)),
    "time": Format(4, patterns=(f"^{_TIME}$",)),
    "date-time": Format(10, patterns=(f"^{_DATE}T{_TIME}$",)),
    "duration": Format(8, "duration"),
    "hostname": Format(3, patterns=_HOSTNAMES),
    "idn-hostname": Format(3, patterns=_HOSTNAMES),
    "email": Format(10, patterns=_ADDRESSES),
    "idn-email": Format(10, patterns=_ADDRESSES),
    "ipv4": Format(4, "ipv4"),
    "ipv6": Format(13, "ipv6"),
    "uuid": Format(3, "uuid"),
    "uri": Format(25, "uri"),
    "iri": Format(25, "uri"),  # ASCII alone.
    "uri-reference": Format(5, patterns=(_REFERENCE,)),
    "iri-reference": Format(5, patterns=(_REFERENCE,)),
    "uri-template": Format(10, patterns=(
        r"^(?:[A-Za-z0-9._~!$&()*+,;=:@/?#-]|%[0-9A-Fa-f]{2}"
        r"|\{[+#./;?&]?[A-Za-z0-9_]+(?:,[A-Za-z0-9_]+)*\*?\})*$",
    )),
    "json-pointer": Format(1, patterns=(rf"^{_POINTER}$",)),
    "relative-json-pointer": Format(1, patterns=(rf"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$",)),
}
