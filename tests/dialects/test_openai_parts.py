from __future__ import annotations

import pytest

from midstream.conversation import Inexpressible, MediaPart, ToolResultPart, ToolUsePart
from midstream.dialects.openai.parts import CallIds, file_text, media_url, read_image, split_data_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data:image/png;base64,aGk=", ("image/png", "aGk=")),
        ("data:text/plain;charset=utf-8;base64,aGk=", ("text/plain", "aGk=")),
        ("data:;base64,aGk=", ("", "aGk=")),
        ("data:text/plain,hi", ("", "")),
        ("https://x.test/data:image/png;base64,aGk=", ("", "")),
        ("", ("", "")),
    ],
)
def test_data_urls(url: str, said: tuple[str, str]) -> None:
    assert split_data_url(url) == said


@pytest.mark.parametrize("url", ["data:image/png;base64,aGk=", "https://x.test/a.png"])
def test_an_image_keeps_its_url(url: str) -> None:
    assert media_url(read_image(url)) == url


@pytest.mark.parametrize(
    ("media", "text"),
    [
        (MediaPart("file", "text/plain", "aGk="), "hi"),
        (MediaPart("file", "text/plain", "not base64"), None),
        (MediaPart("file", "text/plain", "/w=="), None),
        (MediaPart("file", "application/pdf", "aGk="), None),
        (MediaPart("file", "text/plain", url="https://x.test/a"), None),
    ],
)
def test_the_text_of_a_text_file(media: MediaPart, text: str | None) -> None:
    assert file_text(media) == text


def test_results_without_ids_answer_the_calls_of_their_name_in_order() -> None:
    ids = CallIds()
    calls = [ids.call(ToolUsePart("", name, "{}")) for name in ("f", "g", "f")]
    assert [ids.result(ToolResultPart("", (), name)) for name in ("f", "f", "g")] == [calls[0], calls[2], calls[1]]


def test_a_result_without_a_call_is_inexpressible() -> None:
    with pytest.raises(Inexpressible):
        CallIds().result(ToolResultPart("", (), "f"))


@pytest.mark.parametrize("url", ["gs://bucket/a.png", "https://generativelanguage.googleapis.com/v1beta/files/1", ""])
def test_a_medium_that_only_its_own_provider_can_find_has_no_url(url: str) -> None:
    with pytest.raises(Inexpressible):
        media_url(MediaPart("image", url=url))
