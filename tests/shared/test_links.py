"""Signed links: one file, one brand, until they are over."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from cryptography.fernet import Fernet

from shared.errors import BadSignature, Rejected
from shared.events import Attachment
from shared.ids import derived_id
from shared.links import Linked, Links, file_name
from shared.secrets import Vault

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
KEY, NEWER = Fernet.generate_key().decode(), Fernet.generate_key().decode()
BRAND, OTHER = derived_id("shop"), derived_id("other")
FILE = Attachment(kind="image", name="Bild 1/2.png", media_type="image/png", sha256="ab" * 32)
LINKS = Links(Vault([KEY]), "https://dragoman.test")


def read(url: str, now: datetime = NOW, links: Links = LINKS) -> Linked:
    parts = urlsplit(url)
    return links.read(unquote(parts.path), dict(parse_qsl(parts.query)), now)


def link() -> str:
    return LINKS.of(BRAND, FILE, NOW + timedelta(minutes=15))


def test_a_link_names_brand_file_type_and_name() -> None:
    assert link().startswith(f"https://dragoman.test/media/{BRAND}/{'ab' * 32}/Bild%201_2.png?")
    found = read(link())
    assert (found.brand_id, found.sha256, found.media_type) == (BRAND, "ab" * 32, "image/png")
    assert found.name == "Bild 1_2.png"


def test_it_ends() -> None:
    with pytest.raises(Rejected) as raised:
        read(link(), NOW + timedelta(minutes=15))
    assert raised.value.code == "expired"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (str(BRAND), str(OTHER)), ("ab" * 32, "ac" * 32), (".png", ".htm"), ("image%2Fpng", "text%2Fhtml"),
        ("expires=1", "expires=2"), ("signature=", "signature=x"), ("signature=", "no="), ("expires=", "expires=x"),
        ("/media/", "/other/"), ("expires=", "expires=999999999999999999999"), ("signature=", "signature=%F0%9F%92%A9"),
    ],
)  # fmt: skip
def test_whatever_is_changed_makes_it_no_link_of_ours(old: str, new: str) -> None:
    assert old in link()
    with pytest.raises(BadSignature):
        read(link().replace(old, new, 1))


@pytest.mark.parametrize("path", ["", "/media", "/media/x/y/z", "/media/a/b/c/d/e"])
def test_other_paths_are_no_links(path: str) -> None:
    with pytest.raises(BadSignature):
        LINKS.read(path, {"expires": "1", "type": "", "signature": ""}, NOW)


def test_a_new_key_does_not_end_what_the_former_signed() -> None:
    rotated = Links(Vault([NEWER, KEY]), "")
    assert read(link(), links=rotated).name == "Bild 1_2.png"
    with pytest.raises(BadSignature):
        read(rotated.of(BRAND, FILE, NOW + timedelta(hours=1)))


def test_nothing_is_linked_that_is_not_stored() -> None:
    with pytest.raises(Rejected):
        LINKS.of(BRAND, Attachment(kind="image", url="https://vendor.test/1"), NOW)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("", "file"), ("..", "file"), (".htaccess", "htaccess"), ("a/b\\c.txt", "a_b_c.txt"), ("a\r\nb", "a__b"),
        ('say "hi".pdf', "say _hi_.pdf"), ("Grüße.pdf", "Grüße.pdf"), ("x" * 300 + ".pdf", "x" * 89 + ".pdf"),
        ("y" * 300, "y" * 100), ("a\u202etxt.exe", "a_txt.exe"),
    ],
)  # fmt: skip
def test_names_are_one_step_of_a_path(told: str, kept: str) -> None:
    assert file_name(told) == kept
