"""Named pictures: emoji drawings, icons and clip art, without everything that shows a held-out thing."""
from __future__ import annotations

import io
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 64
VENDORS = {"google": "google/img/google/64", "google-blob": "google-blob/img/google/64",
           "twitter": "twitter/img/twitter/64", "fluent3d": "fluent3d/assets"}
# Iconify packages: emoji sets whose icons are found by code point or by name, and icon sets that only have names.
EMOJI_SETS = ("fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast", "fxemoji", "noto-v1", "streamline-emojis")
ICON_SETS = ("flat-color-icons", "game-icons", "healthicons", "icon-park", "maki", "meteocons",
             "streamline-ultimate-color", "temaki")
INKS = ("#222222", "#7a3b10", "#1c4e80", "#2e6b34", "#8c1d2f", "#5b3a86")    # of icons that have no colour of their own
DEMO, HELD_OUT, HELD_OUT_SEED = {"1F438", "1F34E"}, 300, 2026  # the demo's frog and apple are never held out
CLIPART_SKIP = re.compile(r"shapes/(stars|jigsaw)|gradients|patterns|flat-theme|semaphore|/led|france/|duplicates")
ICON_SKIP = re.compile(r"arrow|-(outline|negative|logo|11|15)\b|letter|^(file|align|layout|app|programming|browser|cloud-|data|email|"
                       r"cursor|list|text|window)|\d{2,}|-24px|currency|-(one|two|three|four)$")
SKIN = re.compile(r"(^|-)(light|medium|dark|medium-light|medium-dark)(-skin-tone)?(-|$)")


@dataclass
class Entry:
    """One named thing: an emoji with all its vendors' pictures, one icon name or one piece of clip art."""
    label: dict[str, str]           # "en" always, "zh" for emoji and for what a dictionary translates word for word
    tags: dict[str, list[str]]
    folder: dict[str, list[str]]    # the groups or the folder it is filed under
    klass: str                      # equal for skin-tone and gender variants
    flip: bool                      # may be mirrored
    group: str
    images: dict[str, list[int]] = field(default_factory=dict)    # vendor -> rows of the picture tensor


def norm(code: str) -> str:
    """Hex code points without the variation selector, upper case."""
    return re.sub(r"-FE0F", "", code.upper())


def letters(name: str) -> str:
    """A name's letters and digits only, lower case, for matching spellings."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def load_emoji(data: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Emoji entries by code point, and the code point of every skin-tone variant's base."""
    base = data / "emojibase"
    meta = json.loads((base / "meta/groups.json").read_text())
    read = {lang: json.loads((base / lang / "data.json").read_text()) for lang in ("en", "zh")}
    sub_zh = {m["key"]: m["message"] for m in json.loads((base / "zh/messages.json").read_text())["subgroups"]}
    zh = {e["hexcode"]: e for e in read["zh"]}
    codes = {norm(e["hexcode"]) for e in read["en"]}
    entries: dict[str, Entry] = {}
    base_of: dict[str, str] = {}
    for e in read["en"]:
        klass = re.sub(r"-200D-(2640|2642)", "", code := norm(e["hexcode"]))
        neutral = re.sub(r"^1F46[89]-200D", "1F9D1-200D", klass)
        group = meta["groups"].get(str(e.get("group")), "none")
        key = meta["subgroups"].get(str(e.get("subgroup")), "none")
        other = zh.get(e["hexcode"], e)
        clean = re.compile(r"^(flag|旗|keycap): ?|[“”⊛]")
        name = {"en": clean.sub("", e["label"]), "zh": clean.sub("", other["label"])}
        if group == "flags":
            name = {"en": "flag of " + name["en"], "zh": name["zh"] + "的国旗"}
        entries[code] = Entry(
            name, {"en": e.get("tags", []), "zh": other.get("tags", [])},
            {"en": [key.replace("-", " "), group.replace("-", " "), *group.split("-")], "zh": [sub_zh.get(key, "图标")]},
            neutral if neutral in codes else klass,
            group not in ("symbols", "flags") and not re.search("left|right|clock|thirty", e["label"]), group)
        for skin in e.get("skins", []):
            base_of[norm(skin["hexcode"])] = code
    return entries, base_of


def held_out_codes(data: Path, entries: dict[str, Entry]) -> list[str]:
    """The fixed 300 single-code-point emoji that no picture set may show during training."""
    have = [{norm(p.stem) for p in (data / VENDORS[v]).glob("*.png")} for v in ("google", "twitter")]
    pool = sorted(c for c, e in entries.items() if "-" not in c and e.group not in ("flags", "none", "component")
                  and all(c in h for h in have) and c not in DEMO and e.klass == c)
    return sorted(random.Random(HELD_OUT_SEED).sample(pool, HELD_OUT))


def held_out_words(emoji: dict[str, Entry], held: list[str]) -> re.Pattern[str]:
    """What no icon or clip art may be named: held-out names, and keywords that hardly another emoji has."""
    uses = Counter(t.lower() for e in emoji.values() if e.klass == norm_class(e, emoji) for t in set(e.tags["en"]))
    words = {emoji[c].label["en"].lower() for c in held}
    words |= {t.lower() for c in held for t in emoji[c].tags["en"] if uses[t.lower()] <= 1 and len(t) > 3}
    return re.compile(r"\b(" + "|".join(re.escape(w) for w in sorted(words)) + r")(s|es)?\b")


def norm_class(entry: Entry, emoji: dict[str, Entry]) -> str:
    """The entry's class if it is the class's own emoji, so that gender variants are counted once."""
    return entry.klass if emoji.get(entry.klass) is entry else ""


def square(im: Image.Image) -> np.ndarray:
    """A picture as SIZE x SIZE premultiplied RGBA, padded to a square with transparency."""
    im = im.convert("RGBA")
    im.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(im, ((SIZE - im.width) // 2, (SIZE - im.height) // 2))
    a = np.asarray(canvas).astype(np.float32)
    a[..., :3] *= a[..., 3:] / 255
    return a.round().astype(np.uint8)


def iconify(folder: Path) -> Iterator[tuple[str, str, np.ndarray | None]]:
    """Name, code point (or "") and rendering of every icon of an Iconify package; skin tones are left out."""
    import resvg_py

    icons = json.loads((folder / "icons.json").read_text())
    chars = folder / "chars.json"
    codes = {name: norm(code) for code, name in json.loads(chars.read_text()).items()} if chars.is_file() else {}
    for i, (name, icon) in enumerate(sorted(icons["icons"].items())):
        if SKIN.search(name):
            continue
        size = [icon.get(k, icons.get(k, d)) for k, d in (("left", 0), ("top", 0), ("width", 16), ("height", 16))]
        svg = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
               f'color="{INKS[i % len(INKS)]}" viewBox="{" ".join(map(str, size))}">{icon["body"]}</svg>')
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIZE, height=2 * SIZE))
        yield name, codes.get(name, ""), square(Image.open(io.BytesIO(png)))


def spellings(data: Path, emoji: dict[str, Entry]) -> dict[str, str]:
    """Letters of every known name of an emoji -> its code point; names that two emoji share are dropped."""
    found: dict[str, set[str]] = {}
    for name in ("cldr", "github", "iamcal", "emojibase"):
        for code, short in json.loads((data / f"emojibase/en/shortcodes/{name}.json").read_text()).items():
            for s in [short] if isinstance(short, str) else short:
                if norm(code) in emoji:
                    found.setdefault(letters(s), set()).add(norm(code))
    sure = {k: v.pop() for k, v in found.items() if len(v) == 1}
    sure |= {letters(unicodedata.name(chr(int(c, 16)), c)): c for c in emoji if "-" not in c}
    return sure | {letters(e.label["en"]): c for c, e in emoji.items()}


def clip_art(data: Path) -> Iterator[tuple[Path, Path, str, list[str], str]]:
    """Path, path inside the collection, name, keywords and folder of every usable openclipart picture."""
    root, svgs = data / "openclipart-png/usr/share/openclipart/png", data / "openclipart-svg/usr/share/openclipart/svg"
    for path in sorted(root.rglob("*.png")):
        rel = path.relative_to(root)
        svg = svgs / rel.with_suffix(".svg")
        if CLIPART_SKIP.search(rel.as_posix()) or not svg.is_file() or path.stat().st_size > 300_000:
            continue
        title = re.search(r"<dc:title>([^<]*)", text := svg.read_text("utf-8", "ignore"))
        subject = re.search(r"<dc:subject>.*?</dc:subject>", text, re.S)
        tags = re.findall(r"<rdf:li>([^<]+)", subject.group()) if subject else []
        name = re.sub(r"[_\-\s]+|\d+", " ", title.group(1) if title else "").strip().lower()
        tags = [t.strip().lower() for t in tags if 2 < len(t.strip()) < 30]
        folder = " ".join(p for p in rel.parts[:-1][-2:] if p != "unsorted").replace("_", " ").replace("-", " ")
        yield path, rel, name if 2 < len(name) < 50 else (tags or [folder])[0], tags, folder


def load_all(data: Path, chinese: dict[str, str]) -> tuple[list[Entry], torch.Tensor, list[str]]:
    """Every training entry, the picture tensor (N, 4, SIZE, SIZE) and the held-out codes."""
    emoji, base_of = load_emoji(data)
    held = held_out_codes(data, emoji)
    shut, banned, code_of = set(held), held_out_words(emoji, held), spellings(data, emoji)
    pictures: list[np.ndarray] = []

    def add(entry: Entry, vendor: str, picture: np.ndarray) -> None:
        entry.images.setdefault(vendor, []).append(len(pictures))
        pictures.append(picture)

    for vendor, folder in VENDORS.items():
        for path in sorted((data / folder).iterdir()):
            e = emoji.get(base_of.get(code := norm(path.stem), code))
            if e is not None and e.klass not in shut and path.suffix in (".png", ".webp"):
                add(e, vendor, square(Image.open(path)))
    named: dict[str, Entry] = {}
    for vendor in EMOJI_SETS + ICON_SETS:
        for name, code, picture in iconify(data / vendor):
            plain = re.sub(r"[-\d]+$", "", name).replace("-", " ")
            code = code if code in emoji else code_of.get(letters(name)) or code_of.get(letters(plain), "")
            e = emoji.get(base_of.get(code, code))
            if vendor in EMOJI_SETS or e is not None:
                if e is not None and e.klass not in shut:
                    add(e, vendor if vendor in EMOJI_SETS else "icons", picture)
            elif not ICON_SKIP.search(name) and not banned.search(plain) and len(plain) > 2:
                e = named.setdefault(plain, Entry({"en": plain}, {"en": []}, {"en": ["icon"]}, f"icon:{plain}", True, "icon"))
                add(e, "icons", picture)
    entries = [e for e in emoji.values() if e.images] + list(named.values())
    for path, rel, name, tags, folder in clip_art(data):
        if not banned.search(f"{name} {' '.join(tags)} {rel.stem.replace('_', ' ')}".lower()):
            entries.append(Entry({"en": name}, {"en": tags}, {"en": [folder or name]}, f"clip:{rel}",
                                 "sign" not in rel.as_posix(), "clipart"))
            add(entries[-1], "clipart", square(Image.open(path)))
    for e in entries:
        if "zh" not in e.label and e.label["en"] in chinese:
            e.label["zh"] = chinese[e.label["en"]]
            e.tags["zh"], e.folder["zh"] = [chinese[t] for t in e.tags["en"] if t in chinese], ["图标"]
    return entries, torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), held
