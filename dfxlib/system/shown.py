"""Text of others as a terminal may show it: a file's name can hold codes that move the cursor or turn a line around."""

import unicodedata

#: Controls, formats such as a change of direction, halves of pairs (bytes that are no text), and ends of lines.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shown(text: object) -> str:
    r"""`text` in one line, in which what a terminal would obey or hide stands as an escape, such as \x1b."""
    return "".join(map(_shown_sign, str(text)))


def _shown_sign(sign: str) -> str:
    if unicodedata.category(sign) not in _UNSEEN:
        return sign
    # Python keeps a byte of a name that is no UTF-8 as 0xDC00 and that byte.
    return rf"\x{ord(sign) - 0xDC00:02x}" if "\udc80" <= sign <= "\udcff" else sign.encode("unicode_escape").decode()
