"""The media type of what comes without one: of inline base64 by its first bytes, of a URL by its ending."""

from __future__ import annotations

from urllib.parse import urlsplit

from midstream.conversation import MediaPart

_STARTS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("Qk", "image/bmp"),
    ("JVBERi", "application/pdf"),
)
"""base64 of the first bytes."""

_ENDINGS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "csv": "text/csv",
    "html": "text/html",
}
_DEFAULTS = {"image": "image/jpeg", "audio": "audio/wav", "file": "application/octet-stream"}


def image_type(data: str) -> str:
    """The media type of an inline image; "" if its beginning is not known."""
    return next((name for start, name in _STARTS if data.startswith(start)), "")


def media_type(part: MediaPart) -> str:
    """What a part says it is, else what its beginning or its URL's ending says, else the commonest of its kind."""
    if part.media_type:
        return part.media_type
    if part.data:
        return image_type(part.data) or _DEFAULTS[part.kind]
    try:
        path = urlsplit(part.url).path
    except ValueError:
        path = ""
    return _ENDINGS.get(path.rpartition(".")[2].lower(), _DEFAULTS[part.kind])
