"""Small films, made when they are needed."""

import io

import av
import numpy as np


def film(container: str, codec: str, seconds: int = 6, sound: bool = False) -> bytes:
    """Ten frames a second, a key frame each second; every second has its own shade of grey."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=10, options={"g": "10", "keyint_min": "10"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 10
        voice = output.add_stream("libopus", rate=48_000, layout="mono") if sound else None
        for number in range(10 * seconds):
            grey = np.full((48, 64, 3), 20 + 30 * (number // 10), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        output.mux(stream.encode(None))
        if voice is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="flt", layout="mono")
            frame.sample_rate = 48_000
            output.mux([*voice.encode(frame), *voice.encode(None)])
    return buffer.getvalue()
