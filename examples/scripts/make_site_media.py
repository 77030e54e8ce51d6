"""Make the pictures and recordings of examples/site and examples/site_update from named packages.

Nothing is downloaded.  Unpack these beside each other and name their folders:
  --google   npm emoji-datasource-google@16.0.0   Noto emoji, Apache-2.0
  --fluent   npm @lobehub/fluent-emoji-3d@1.1.0   Fluent emoji, MIT
  --skimage  PyPI scikit-image 0.26.0             its folder skimage/data, public domain and CC0
The recordings are spoken by espeak-ng 1.51 and encoded by ffmpeg with libvorbis and libopus.
"""

import argparse
import subprocess
from pathlib import Path

from PIL import Image

SIDE = 128  # px, drawings
PHOTO = 512  # px, longest side of a photograph
UPDATE = {"penguin": "1f427"}  # Fluent, for examples/site_update
FLUENT = {
    "frog": "1f438",
    "red-apple": "1f34e",
    "rocket": "1f680",
    "volcano": "1f30b",
    "panda": "1f43c",
    "moon-cake": "1f96e",
    "crescent-moon": "1f319",
    "orangutan": "1f9a7",
    "red-lantern": "1f3ee",
    "full-moon": "1f315",
    "cat": "1f408",
}
GOOGLE = {
    "green-apple": "1f34f",
    "bicycle": "1f6b2",
    "hot-beverage": "2615",
    "deciduous-tree": "1f333",
    "teacup": "1f375",
}
PHOTOGRAPHS = {"astronaut": "astronaut.png", "coffee-cup": "coffee.png", "chelsea-the-cat": "chelsea.png"}
BROKEN_AT = 300  # bytes: the JPEG ends inside its Huffman tables, so that no decoder can show a part of it
RECORDINGS = {  # words a minute, words; slow or fast as Whisper tiny.en understands it best
    "frogs.ogg": (
        165,
        "Clean water is very important to frogs, because they can breathe through their skin as well as their lungs.",
    ),
    "rocket.opus": (
        165,
        "The rocket that carried three men to the moon was taller than a building with thirty floors. "
        "Most of its weight was fuel and oxygen.",
    ),
    "volcano.ogg": (
        125,
        "People who live near a volcano should know the signs. "
        "Before it explodes, small earthquakes shake the ground for days or weeks.",
    ),
    "kew.ogg": (
        125,
        "The gardens keep millions of seeds in cold, dry rooms. One day these seeds may bring back a lost flower.",
    ),
}


def draw(source: Path, target: Path) -> Image.Image:
    """Write the drawing at SIDE px, transparency kept, and return it."""
    picture = Image.open(source).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(target, optimize=True)
    return picture


def photograph(source: Path, target: Path) -> None:
    """Write the photograph as a JPEG of at most PHOTO px a side."""
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((PHOTO, PHOTO), Image.Resampling.LANCZOS)
    picture.save(target, quality=80, optimize=True, progressive=True)


def speak(speed: int, text: str, target: Path) -> None:
    """Write the spoken text as mono 16 kHz audio; the file name ends in the codec's suffix."""
    codec = ["-c:a", "libopus", "-b:a", "24k"] if target.suffix == ".opus" else ["-c:a", "libvorbis", "-q:a", "1"]
    voice = ["espeak-ng", "-v", "en-us", "-s", str(speed), "--stdout"]
    wave = subprocess.run([*voice, text], check=True, capture_output=True).stdout
    encode = ["ffmpeg", "-v", "error", "-y", "-i", "pipe:0", "-ac", "1", "-ar", "16000", "-map_metadata", "-1"]
    subprocess.run([*encode, *codec, "-bitexact", str(target)], check=True, input=wave)


def main() -> None:
    """Fill SITE/img and SITE/audio, and img in the folder site_update beside SITE."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("google", "fluent", "skimage"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--site", type=Path, default=Path(__file__).parents[1] / "site")
    args = parser.parse_args()
    img, audio = args.site / "img", args.site / "audio"
    for folder in (img, audio):
        folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: draw(args.fluent / f"assets/{code}.webp", img / f"{name}.png") for name, code in FLUENT.items()}
    for name, code in GOOGLE.items():
        draw(args.google / f"img/google/64/{code}.png", img / f"{name}.png")
    for name, file in PHOTOGRAPHS.items():
        photograph(args.skimage / file, img / f"{name}.jpg")
    more = args.site.with_name("site_update") / "img"
    more.mkdir(parents=True, exist_ok=True)
    for name, code in UPDATE.items():
        draw(args.fluent / f"assets/{code}.webp", more / f"{name}.png")
    drawn["rocket"].save(img / "rocket.webp", quality=90)
    whole = img / "crater-rim.jpg"
    drawn["volcano"].convert("RGB").save(whole)
    whole.write_bytes(whole.read_bytes()[:BROKEN_AT])
    for file, (speed, text) in RECORDINGS.items():
        speak(speed, text, audio / file)


if __name__ == "__main__":
    main()
