"""Masking of personal data by pattern and checksum: what these find is certain enough to remove unread."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection
from datetime import date

import phonenumbers

EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w@-])",
    re.ASCII,
)
CN_ID = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{5}(?:18|19|20)\d{9}[\dXx](?![0-9A-Za-z])", re.ASCII)
CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d.-]*\d)", re.ASCII)
PHONE = re.compile(r"(?<![\w.+/-])(?:\+\d|\(\d{2,4}\)|\d)[\d ().-]{5,18}\d(?![\w/-]|\.\d)", re.ASCII)
IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)", re.ASCII)
SUSPECT = re.compile(r"\d[\d ().-]{4,}\d", re.ASCII)  # every number below looks like this
CN_MOBILE = re.compile(r"1[3-9]\d{9}", re.ASCII)
NANP = re.compile(r"(?:1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}", re.ASCII)
CN_LANDLINE = re.compile(r"\(?0[1-9]\d{1,2}\)?[ -]?\d{7,8}", re.ASCII)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def mask(text: str, kinds: Collection[str]) -> tuple[str, Counter[str]]:
    """Replace personal data of the given kinds by its kind in brackets; return the text and the count by kind."""
    hits: Counter[str] = Counter()
    found = -1
    while found != hits.total() and ("@" in text or SUSPECT.search(text)):
        found = hits.total()  # what is masked may lay bare the edge of something else
        for kind, (pattern, is_valid) in RECOGNISERS.items():
            if kind in kinds:
                text, count = _mask_kind(text, kind, pattern, is_valid)
                hits[kind] += count
    return text, +hits


def _mask_kind(text: str, kind: str, pattern: re.Pattern[str], is_valid: Callable[[str], bool]) -> tuple[str, int]:
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if not is_valid(match[0]):
            return match[0]
        count += 1
        return f"[{kind.upper()}]"

    return pattern.sub(replace, text), count


def is_chinese_id(number: str) -> bool:
    """Check a resident identity number: birth date and the ISO 7064 MOD 11-2 check character (GB 11643)."""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()


def is_card(number: str) -> bool:
    """Check a payment card number: a known issuer's first digits and the Luhn checksum (ISO/IEC 7812)."""
    digits = [int(char) for char in number if char.isdigit()]
    if digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_phone(number: str) -> bool:
    """Check a telephone number: international with +, Chinese, or North American as people write it, and assigned."""
    number = number.strip()
    if number.startswith("+"):
        region = None
    elif CN_MOBILE.fullmatch(re.sub(r"[ -]", "", number)) or CN_LANDLINE.fullmatch(number):
        region = "CN"
    elif NANP.fullmatch(number):
        region = "US"
    else:
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def is_public_ip(address: str) -> bool:
    """Check for a public IPv4 address; private and documentation ranges name nobody."""
    try:
        return ipaddress.IPv4Address(address).is_global
    except ValueError:
        return False


# In this order: an identity number is never read as a card, nor a card as a telephone number.
RECOGNISERS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (EMAIL, lambda _: True),
    "cn_id": (CN_ID, is_chinese_id),
    "card": (CARD, is_card),
    "phone": (PHONE, is_phone),
    "ip": (IP, is_public_ip),
}
