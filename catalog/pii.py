"""Masking of personal data by pattern, checksum and context: what these find is certain enough to remove unread."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import phonenumbers

MAIL_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9@-])"
EMAIL = re.compile(rf"(?<![\w.+-])[A-Za-z0-9][\w.+-]{{0,63}}[@＠]{MAIL_DOMAIN}(?!:[\w/~])", re.ASCII)
SPELT_EMAIL = re.compile(  # jane [at] example [dot] org
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63} ?[\[({] ?at ?[\])}] ?[A-Za-z0-9-]+(?: ?[\[({] ?dot ?[\])}] ?[A-Za-z0-9-]+)+",
    re.ASCII | re.IGNORECASE,
)
CN_ID = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{5} ?(?:18|19|20)\d{6} ?\d{3}[\dXx](?![0-9A-Za-z])", re.ASCII)
CARD = re.compile(r"(?<![\w.=/-])\d(?:[ -]?\d){12,18}(?![\w.-]*\d)", re.ASCII)
PHONE = re.compile(r"(?<![\w.+/-])(?:\+\d|\(\d{2,4}\)|\d)[\d ().-]{5,18}\d(?![\w/-]|\.\d)", re.ASCII)
NAMED_PHONE = re.compile(
    r"(?:(?i:tel(?:ephone)?|phone|mobile|cell|call|fax|whatsapp|ring)|电话|電話|手机|手機|座机|热线|传真|拨打)"
    r"[^\w\n]{0,4}(?P<data>\(?\+?\d[\d ().-]{6,18}\d)(?![\w/-]|\.\d)"
)
PASSPORT = re.compile(
    r"(?:(?i:passport)|护照|護照|\[PASSPORT\](?=[、，,/ ]))(?![^\n]{0,3}[\u4e00-\u9fff]{5})[^\n\d\[\]]{0,20}?"
    r"(?<![A-Za-z0-9])(?P<data>[A-Z]{1,2}\d{6,8}|\d{9})(?![\w-])"
)
IPV4 = re.compile(  # not the numbers of sections and versions
    r"(?<![\w.])(?<!第 )(?<!第)(?<!§ )(?<!ion )(?<!ION )(?<!ION\n )(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)(?! ?[节章節])",
    re.ASCII,
)
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){1,7}:?(?:[0-9A-Fa-f]{1,4}:?){0,7}(?<!:)(?![\w:])", re.ASCII)
# Whatever is masked below holds one of these.
SUSPECT = re.compile(r"[@＠]|\d[\d ().-]{4,}\d|[\[({] ?at ?[\])}]|[0-9A-Fa-f]:[0-9A-Fa-f:]", re.ASCII | re.IGNORECASE)
CN_MOBILE = re.compile(r"(?:(?:00)?86[ -]?)?1[3-9]\d{9}", re.ASCII)
NANP = re.compile(r"(?:1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}", re.ASCII)
CN_LANDLINE = re.compile(r"\(?0[1-9]\d{1,2}\)?[ -]?\d{3,4}[ -]?\d{4}", re.ASCII)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
# Issuers' first digits and the lengths of their numbers (ISO/IEC 7812); Chinese debit cards are UnionPay's or 9558.
ISSUERS = re.compile(
    r"4\d{15}|(?:5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720))\d*|3[47]\d{13}|3(?:0[0-5]|[68])\d{11}|35(?:2[89]|[3-8])\d{13}"
    r"|6(?:011|4[4-9]|5)\d*|62\d{14,17}|220[0-4]\d{12,15}|60(?:1382|3)\d{13}|9558\d{15}|(?:5018|5020|5038|5893|6304|6759)\d*"
)
UNICAST = ipaddress.ip_network("2000::/3")
# Where a word says that a number is a telephone's: the countries that it may be written for.
REGIONS = ("US", "GB", "DE", "FR", "AU", "IN", "CN", "HK", "TW", "SG", "JP")


@dataclass(frozen=True)
class Recogniser:
    """One way to find one kind of personal data: a pattern (what its group `data` matches is masked) and a check."""

    kind: str
    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool] = lambda _: True


def mask(text: str, kinds: Collection[str]) -> tuple[str, Counter[str]]:
    """Replace personal data of the given kinds by its kind in brackets; return the text and the count by kind."""
    hits: Counter[str] = Counter()
    for kind, ranges, masked in _maskings(text, kinds):
        hits[kind] += len(ranges)
        text = masked
    return text, hits


def mask_pieces(pieces: Sequence[str], kinds: Collection[str]) -> list[str]:
    """Mask pieces that continue each other, such as the words of a recording, as the one text that they make up.

    What stands in several pieces is named in the first of them and missing in the others.
    """
    owners = [index for index, piece in enumerate(pieces) for _ in piece]
    text = "".join(pieces)
    for kind, ranges, masked in _maskings(text, kinds):
        for start, end in reversed(ranges):
            owners[start:end] = owners[start : start + 1] * len(_label(kind))
        text = masked
    found = [""] * len(pieces)
    for owner, char in zip(owners, text, strict=True):
        found[owner] += char
    return found


def _maskings(text: str, kinds: Collection[str]) -> Iterator[tuple[str, list[tuple[int, int]], str]]:
    """Yield, one masking after the other, the kind, its half-open ranges in the text as it is then, and the result."""
    found = True
    while found and SUSPECT.search(text):
        found = False  # what is masked may lay bare the edge of something else
        for recogniser in RECOGNISERS:
            if recogniser.kind in kinds and (ranges := _ranges(recogniser, text)):
                found = True
                starts, ends = [0, *(end for _, end in ranges)], [*(start for start, _ in ranges), len(text)]
                kept = (text[start:end] for start, end in zip(starts, ends, strict=True))
                text = _label(recogniser.kind).join(kept)
                yield recogniser.kind, ranges, text


def _ranges(recogniser: Recogniser, text: str) -> list[tuple[int, int]]:
    group = "data" if "data" in recogniser.pattern.groupindex else 0
    return [match.span(group) for match in recogniser.pattern.finditer(text) if recogniser.is_valid(match[group])]


def _label(kind: str) -> str:
    return f"[{kind.upper()}]"


def is_chinese_id(number: str) -> bool:
    """Check a resident identity number: birth date and the ISO 7064 MOD 11-2 check character (GB 11643)."""
    number = number.replace(" ", "")
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()


def is_card(number: str) -> bool:
    """Check a payment card number: a known issuer's first digits and length, and the Luhn checksum (ISO/IEC 7812)."""
    digits = [int(char) for char in number if char.isdigit()]
    if ISSUERS.fullmatch("".join(map(str, digits))) is None or len(digits) < 14 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_phone(number: str) -> bool:
    """Check a telephone number: international with +, Chinese, or North American as people write it, and assigned."""
    number = number.strip()
    if number.startswith("+"):
        return _is_assigned(number, None)
    if CN_MOBILE.fullmatch(re.sub(r"[ -]", "", number)):
        return _is_assigned(re.sub(r"[ -]", "", number).removeprefix("00").removeprefix("86"), "CN")
    if CN_LANDLINE.fullmatch(number):
        return _is_assigned(number, "CN")
    return NANP.fullmatch(number) is not None and _is_assigned(number, "US")


def is_named_phone(number: str) -> bool:
    """Check a number that a word before it calls a telephone's: assigned in one of the countries of REGIONS."""
    return any(_is_assigned(number, region) for region in REGIONS)


def _is_assigned(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def is_public_ip(address: str) -> bool:
    """Check for a public IPv4 or IPv6 address; private and documentation ranges name nobody."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_global and (found.version == 4 or found in UNICAST)


# In this order: an identity number is never read as a card, nor a card as a telephone number.
RECOGNISERS = (
    Recogniser("email", EMAIL),
    Recogniser("email", SPELT_EMAIL),
    Recogniser("cn_id", CN_ID, is_chinese_id),
    Recogniser("card", CARD, is_card),
    Recogniser("passport", PASSPORT),
    Recogniser("phone", PHONE, is_phone),
    Recogniser("phone", NAMED_PHONE, is_named_phone),
    Recogniser("ip", IPV4, is_public_ip),
    Recogniser("ip", IPV6, is_public_ip),
)
