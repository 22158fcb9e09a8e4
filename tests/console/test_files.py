"""What is served: every file with its policy and ETag, within its budget, and the rules that its sources keep."""

import gzip
import re

import pytest

from services.router.console import STATIC, files, policy
from tests.router.api.conftest import Client
from tests.router.api.conftest import api as api
from tests.router.conftest import w as w

BUDGET = 120_000
MODULES = sorted(path.name for path in STATIC.glob("*.js"))


async def test_every_file_is_served_compressed_and_revalidated(api: Client) -> None:
    for name, file in files().items():
        answer = await api.http.get(f"/console/{name}")
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
        assert answer.content == (STATIC / name).read_bytes()
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await api.http.get(f"/console/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = await api.http.get(f"/console/{name}", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == file.content == gzip.decompress(file.compressed)


async def test_the_bare_address_leads_to_the_console_and_nothing_else_is_served(api: Client) -> None:
    for path in ("/", "/console"):
        answer = await api.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/console/")
    assert (await api.http.get("/console/")).headers["content-type"] == "text/html; charset=utf-8"
    for path in ("/console/nothing.js", "/console/..%2f__init__.py", "/console/__init__.py"):
        assert (await api.http.get(path)).status_code == 404


def test_the_policy_lets_nothing_inline_in_and_asks_named_servers_only() -> None:
    rules = dict(
        rule.split(" ", 1) for rule in policy(["https://id.example/realms/a", "https://x.example"]).split("; ")
    )
    assert "unsafe" not in str(rules)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == "'self' https://id.example https://x.example"
    assert rules["require-trusted-types-for"] == "'script'"


def test_all_of_it_fits_the_budget_compressed() -> None:
    assert sum(len(file.compressed) for file in files().values()) < BUDGET


def test_the_page_loads_every_module_at_once_and_each_imports_what_is_there() -> None:
    page = (STATIC / "index.html").read_text()
    loaded = re.findall(r'<(?:script type="module" src|link rel="modulepreload" href)="([^"]+)"', page)
    assert sorted(loaded) == MODULES
    for module in MODULES:
        imported = re.findall(r"from '\./([^']+)'", (STATIC / module).read_text())
        assert set(imported) <= set(MODULES) - {module}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_makes_markup_of_words_or_asks_another_host(module: str) -> None:
    source = (STATIC / module).read_text()
    makes_markup = re.findall(
        r"innerHTML\s*=|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source
    )
    assert makes_markup == []
    assert ("srcdoc" in source) == (module == "mail.js")
    assert re.findall(r"['\"`](?:https?:)?//[a-z]", source) == []
