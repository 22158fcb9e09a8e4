"""The command as people call it: clear answers, an exit status, never a traceback."""

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from cryptography.fernet import Fernet


def dragoman(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    return subprocess.run(
        [sys.executable, "-m", "services.main", *words],
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    at = 1_790_000_000_000
    item = {"sender": {"id": "p"}, "recipient": {"id": "100"}, "timestamp": at, "message": {"mid": "m1", "text": "Hé"}}
    body = json.dumps({"object": "page", "entry": [{"id": "100", "time": at, "messaging": [item, {"odd": 1}]}]})
    signature = hmac.new(b"s3cret", body.encode(), hashlib.sha256).hexdigest()
    request = {"method": "POST", "path": "/", "headers": {"X-Hub-Signature-256": f"sha256={signature}"}, "body": body}
    path = tmp_path / "capture.json"
    path.write_text(json.dumps(request))
    return path


def test_inspect_shows_what_a_channel_makes_of_a_capture(capture: Path) -> None:
    done = dragoman("inspect", "messenger", str(capture), "--secret", "app_secret=s3cret")
    shown = json.loads(done.stdout)
    assert (shown["signature"], len(shown["items"]), len(shown["wrong"])) == ("good", 1, 1)
    assert shown["items"][0]["data"]["text"] == "Hé"
    assert done.returncode == 1, "something was wrong with it"


def test_inspect_says_what_is_wrong_with_the_signature_or_the_file(capture: Path, tmp_path: Path) -> None:
    forged = dragoman("inspect", "messenger", str(capture), "--secret", "app_secret=other")
    assert json.loads(forged.stdout)["signature"].startswith("bad")
    (tmp_path / "no.json").write_text("{")
    broken = dragoman("inspect", "messenger", str(tmp_path / "no.json"))
    assert (broken.returncode, json.loads(broken.stdout)["wrong"]) == (1, ["the file is not JSON"])


def test_inspect_reads_a_mail_as_a_file(tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"From: Marie <marie@example.com>\nSubject: Colis\nMessage-ID: <m1@example.com>\n\nBonjour\n")
    done = dragoman("inspect", "email", str(mail), "--setting", "address=support@shop.example")
    (item,) = json.loads(done.stdout)["items"]
    assert (item["address"], item["data"]["text"], len(item["files"])) == ("support@shop.example", "Bonjour", 1)
    assert done.returncode == 0
    mail.write_bytes(b"no mail at all")
    assert json.loads(dragoman("inspect", "email", str(mail)).stdout)["wrong"][0].startswith("no_mail")


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (("migrate",), {}, "DRAGOMAN_DATABASE_URL"),
        (("router",), {}, "DRAGOMAN_DATABASE_URL"),
        (("topics",), {}, "DRAGOMAN_KAFKA_BOOTSTRAP"),
        (("migrate",), {"DRAGOMAN_DATABASE_URL": "postgresql://127.0.0.1:1/none"}, "Connect"),
    ],
)
def test_what_is_missing_is_said_in_a_line(words: tuple[str, ...], environment: dict[str, str], says: str) -> None:
    done = dragoman(*words, **environment)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("0001", "run `dragoman migrate`"),
        # They have all that it needs, so the next that it asks for is the bus.
        ("9999", "set DRAGOMAN_KAFKA_BOOTSTRAP"),
    ],
)
async def test_a_service_starts_on_the_tables_of_its_build_or_of_a_later_one(
    database_url: str, tables: str, says: str
) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE bus.alembic_version SET version_num = $1", tables)
    await owner.close()
    keys = json.dumps([Fernet.generate_key().decode()])
    environment = {"DRAGOMAN_DATABASE_URL": database_url, "DRAGOMAN_SECRET_KEYS": keys, "DRAGOMAN_PORT": "0"}
    done = await asyncio.to_thread(dragoman, "responder", **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert says in done.stderr
    assert ("a later build's" in done.stderr) == (tables == "9999")


def test_a_deployment_by_hand(database_url: str, tmp_path: Path) -> None:
    environment = {
        "DRAGOMAN_DATABASE_URL": database_url,
        "DRAGOMAN_SECRET_KEYS": json.dumps([Fernet.generate_key().decode()]),
        "SANDBOX_URL": "http://127.0.0.1:9",
        "SANDBOX_IMAP_PORT": "9",
        "SANDBOX_SMTP_PORT": "9",
    }
    assert "already at" in dragoman("migrate", **environment).stdout
    sample = str(Path(__file__).parent.parent / "deploy" / "config" / "sample.yaml")
    planned = dragoman("apply", sample, "--dry-run", **environment)
    assert planned.stdout.startswith("+ client"), planned.stderr
    assert dragoman("apply", sample, **environment).stdout == planned.stdout
    assert dragoman("apply", sample, **environment).stdout == "nothing to change\n"
    (tmp_path / "bad.yaml").write_text("clients:\n  a: {nme: A}\n")
    bad = dragoman("apply", str(tmp_path / "bad.yaml"), **environment)
    assert (bad.returncode, "bad.yaml:2" in bad.stderr) == (1, True)
    assert "nothing is dead" in dragoman("dead", "list", **environment).stdout
    assert "0 conversations, 0 differ" in dragoman("check", **environment).stdout
