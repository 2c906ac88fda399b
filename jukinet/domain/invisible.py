"""Characters that no clerk sees or types: controls, format marks, marks that turn the direction of a line.

Rule: a name or an address that holds one is refused where a clerk reports it, since a screen shows it as another text
than what is stored, compared and answered. Variation selectors (異体字セレクタ) and private characters (外字) are part
of a legal spelling and are none of these.

Only the communication server judges so: further up a change is sealed, and a new rule must not park what an older
server accepted.

Source: Unicode Standard, general categories Cc, Cf, Zl and Zp; Unicode Technical Report 36 (bidirectional text).
"""

import re

from google.protobuf.message import Message

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)


def field_with_invisible(message: Message) -> str:
    """The name of the first text of a message, not of those within it, that holds such a character; empty if none."""
    for field, value in message.ListFields():
        if isinstance(value, str) and _INVISIBLE.search(value):
            name: str = field.name
            return name
    return ""
