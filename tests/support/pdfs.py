"""Small PDFs, written by hand: ISO 32000-1, 7.5."""

from collections.abc import Sequence

FONTS = {"F1": "Helvetica", "F2": "Courier"}
Row = tuple[float, float, str]  # size, baseline from the bottom of the page, text


def make_pdf(pages: Sequence[Sequence[Row]], title: str = "", locked: bool = False) -> bytes:
    """Return a PDF of lines in Helvetica (Courier where the text starts with '$ '); `locked` asks for a password."""
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    fonts = " ".join(f"/{key} << /Type /Font /Subtype /Type1 /BaseFont /{name} >>" for key, name in FONTS.items())
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} /Resources << /Font << {fonts} >> >> >>",
        f"<< /Title ({title}) /Author (A. Writer) /CreationDate (D:20240229120000Z) >>",
        f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{'41' * 32}> /U <{'42' * 32}> >>",
    ]
    for number, rows in enumerate(pages):
        stream = "\n".join(_shown(*row) for row in rows)
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {6 + 2 * number} 0 R >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{text}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    lock = f"/Encrypt 4 0 R /ID [<{'43' * 16}> <{'43' * 16}>]" if locked else ""
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 3 0 R {lock} >>\nstartxref\n{len(data)}\n%%EOF"
    return data + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def _shown(size: float, baseline: float, text: str) -> str:
    font = "F2" if text.startswith("$ ") else "F1"
    return f"BT /{font} {size} Tf 72 {baseline} Td ({text}) Tj ET"
