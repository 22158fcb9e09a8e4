"""Dead letters: admins see those of their brands, and replay them to one effect."""

from uuid import UUID

from services.router.store import dead
from shared.events import DeadLetter
from shared.ids import new_id
from tests.router.api.conftest import Client
from tests.router.world import World, id_of


async def keep(w: World, *brands: str | None, topic: str = "inbound", **headers: str) -> list[UUID]:
    letters = [
        (
            id_of(brand) if brand else None,
            DeadLetter(
                topic=topic, key="lane", headers={"ce_id": str(new_id()), **headers}, value=b"{}", code="bad_payload",
                error="it breaks the form",
            ),
        )
        for brand in brands
    ]  # fmt: skip
    async with w.router.transaction() as tx:
        await dead.keep(tx, letters)
    return [dead.id_of(letter) for _, letter in letters]


async def test_only_admins_see_them(api: Client, w: World) -> None:
    (letter,) = await keep(w, "shop")
    for who in ("anna", "sam", await api.key("k", "brand", "shop")):
        assert (await api.get("/v1/dead", who)).status_code == 403
        assert (await api.get(f"/v1/dead/{letter}", who)).status_code == 403
        assert (await api.post(f"/v1/dead/{letter}/replay", who)).status_code == 403


async def test_an_admin_of_some_brands_sees_theirs_and_an_admin_of_all_everything(api: Client, w: World) -> None:
    shop, other, nobodys = await keep(w, "shop", "other", None)
    some, all_ = await api.key("some", "admin", "shop"), await api.key("all", "admin", "shop", "other")
    assert {item["id"] for item in (await api.get("/v1/dead", some)).json()["items"]} == {str(shop)}
    assert len((await api.get("/v1/dead", all_)).json()["items"]) == 3
    for foreign in (other, nobodys, new_id()):
        assert (await api.get(f"/v1/dead/{foreign}", some)).status_code == 404
        assert (await api.post(f"/v1/dead/{foreign}/replay", some)).status_code == 404
    assert (await api.get(f"/v1/dead/{other}", all_)).json()["value_base64"] == "e30="


async def test_they_page(api: Client, w: World) -> None:
    expected = set()
    for _ in range(5):
        expected |= {str(id_) for id_ in await keep(w, "shop")}
        w.clock.forward(seconds=1)
    key = await api.key("k", "admin", "shop", "other")
    seen, cursor = [], ""
    while True:
        page = (await api.get(f"/v1/dead?limit=2{cursor}", key)).json()
        seen += [item["id"] for item in page["items"]]
        if not page["next"]:
            break
        cursor = f"&cursor={page['next']}"
    assert (len(seen), set(seen)) == (5, expected)


async def test_a_replay_publishes_it_as_it_was_and_says_who_did(api: Client, w: World) -> None:
    (letter,) = await keep(w, "shop", ce_type="dragoman.message.received.v1")
    key = await api.key("ops", "admin", "shop")
    answers = [await api.post(f"/v1/dead/{letter}/replay", key, key="one") for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    (row,) = await w.fetch("SELECT topic, key, headers, value FROM bus.outbox")
    assert (row["topic"], row["key"], row["value"]) == ("inbound", "lane", b"{}")
    assert row["headers"]["ce_type"] == "dragoman.message.received.v1"
    (audit,) = await w.fetch("SELECT actor, action, data FROM router.audit")
    assert tuple(audit.values()) == ("key:ops", "dead.replayed", {"dead": str(letter)})
    assert (await api.get("/v1/dead", key)).json()["items"][0]["replayed_at"] is not None


async def test_what_never_was_an_event_cannot_be_replayed(api: Client, w: World) -> None:
    (letter,) = await keep(w, "shop", topic="")
    refused = await api.post(f"/v1/dead/{letter}/replay", await api.key("ops", "admin", "shop"))
    assert (refused.status_code, refused.json()["code"]) == (409, "never_an_event")
    assert await w.value("SELECT count(*) FROM router.audit") == 0
