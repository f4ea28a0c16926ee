"""One HTML file that stands alone: it runs nothing, fetches nothing, and prints well."""

from __future__ import annotations

from html import escape


def sheet(lang: str, title: str, style: str, body: str, footer: str) -> bytes:
    """Return the file as UTF-8. `body` is HTML; title and footer are plain words."""
    return f"""<!doctype html>
<html lang="{escape(lang)}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title><style>{style}</style></head>
<body><h1>{escape(title)}</h1>
{body}
<footer>{escape(footer)}</footer></body></html>
""".encode("utf-8", "replace")
