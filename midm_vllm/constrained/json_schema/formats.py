"""Which of JSON Schema's formats of texts are enforced, and as what.

As narrow as the standard that each names (RFC 3339, 1123, 5321, 3986, 6570, 6901), or narrower:
what a validator in Python or JavaScript may refuse is not written either. Others say nothing, as
the standard permits.
"""

from __future__ import annotations

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
_PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=@/-]|%[0-9A-Fa-f]{2})*"
_REST = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
_REFERENCE = rf"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?{_PATH}(?:\?{_REST})?(?:#{_REST})?$"
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"

UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

#: Formats that llguidance knows, and has exact or narrower.
FORMATS = {
    **{name: name for name in ("duration", "ipv4", "ipv6", "uri", "uuid")},
    # Narrower than they may be: ASCII alone.
    "iri": "uri",
}
_HOSTNAMES = (f"^{_HOSTNAME}$", "^.{1,253}$")
_ADDRESSES = (rf"^{_WORD}(?:\.{_WORD})*@{_HOSTNAME}$", "^[^@]{1,64}@.{1,185}$")
#: The others, as patterns that all hold.
FORMAT_PATTERNS = {
    "date": (f"^{_DATE}$",),
    "time": (f"^{_TIME}$",),
    "date-time": (f"^{_DATE}T{_TIME}$",),
    "hostname": _HOSTNAMES,
    "idn-hostname": _HOSTNAMES,
    "email": _ADDRESSES,
    "idn-email": _ADDRESSES,
    "uri-reference": (_REFERENCE,),
    "iri-reference": (_REFERENCE,),
    "uri-template": (
        r"^(?:[A-Za-z0-9._~!$&()*+,;=:@/?#-]|%[0-9A-Fa-f]{2}"
        r"|\{[+#./;?&]?[A-Za-z0-9_]+(?:,[A-Za-z0-9_]+)*\*?\})*$",
    ),
    "json-pointer": (rf"^{_POINTER}$",),
    "relative-json-pointer": (rf"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$",),
}
