"""How many frames a picture file holds, counted no further than a limit and without decoding one."""

from PIL import Image

EXTENSION, FRAME = 0x21, 0x2C  # of GIF89a's blocks


def has_more_frames(image: Image.Image, payload: bytes, limit: int) -> bool:
    """Tell whether an opened file holds over `limit` frames or pages; leaves the first one selected."""
    if image.format == "GIF":
        return _gif_frames(payload, limit + 1) > limit
    if image.format == "TIFF":
        try:
            image.seek(limit)  # follows the chain of directories, decodes nothing
        except EOFError:
            return False
        finally:
            image.seek(0)
        return True
    return getattr(image, "n_frames", 1) > limit


def _gif_frames(payload: bytes, enough: int) -> int:
    """Walk the blocks of a GIF; a damaged one counts as far as it can be walked."""
    position, frames, end = 13 + _palette(payload, 10), 0, len(payload)
    while position < end and frames < enough:
        if payload[position] == FRAME:
            frames += 1
            position += 11 + _palette(payload, position + 9)
        elif payload[position] == EXTENSION:
            position += 2
        else:
            break
        while position < end and payload[position]:  # sub-blocks, each behind its length
            position += payload[position] + 1
        position += 1
    return frames


def _palette(payload: bytes, flags: int) -> int:
    """Return the bytes of the colour table that a descriptor's flags announce."""
    packed = payload[flags] if flags < len(payload) else 0
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0
