"""QR codes, as pictures that stand in the page itself."""

import segno


def qr_code(text: str) -> str:
    """Return a `data:` address of an SVG picture, dark on white whatever the page's colours are: cameras need that."""
    return segno.make(text, error="m", micro=False).svg_data_uri(scale=8, border=3, dark="#000", light="#fff")
