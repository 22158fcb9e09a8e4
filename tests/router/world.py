"""A small world to route in: one call gives a configured database, builders with defaults what happens in it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import asyncpg

from services.router.inbound import Inbound
from services.router.store.configuration import ConfigurationCache
from shared.channels.contract import Channel, Part
from shared.clock import Reader
from shared.db.transaction import Database
from shared.events import Address, Event, MessageReceived, SendReply
from shared.ids import derived_id, new_id

MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class StoppedClock:
    """Time that only tests move."""

    def __init__(self, at: datetime = MONDAY) -> None:
        self.at = at

    async def now(self, connection: Reader) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


def _render(reply: SendReply) -> tuple[Part, ...]:
    return (Part("text", {"text": reply.text}, peer="peer", text=reply.text),)


async def _send(*_: object) -> str:
    raise AssertionError("no test of the router calls a vendor")


CHAT = Channel(name="chat", address_kind="chat", live=True, render=_render, send=_send, text_limit=1000)
MARKET = Channel(name="market", address_kind="market", live=False, render=_render, send=_send, text_limit=1000)
SMS = Channel(name="sms", address_kind="phone", live=True, render=_render, send=_send, text_limit=1000)
WHATSAPP = Channel(name="whatsapp", address_kind="phone", live=True, render=_render, send=_send, text_limit=1000)
MAIL = Channel(name="mail", address_kind="email", live=False, render=_render, send=_send, text_limit=1000)
CHANNELS = {channel.name: channel for channel in (CHAT, MARKET, SMS, WHATSAPP, MAIL)}

BRANDS = ("shop", "other")
INBOXES: Mapping[str, Mapping[str, str]] = {
    "shop-chat": {"brand": "shop", "channel": "chat", "locale": "de-DE", "country": "DE"},
    "shop-market": {"brand": "shop", "channel": "market", "locale": "fr-FR", "country": "FR"},
    "other-chat": {"brand": "other", "channel": "chat", "locale": "de-DE", "country": "DE"},
    "shop-sms": {"brand": "shop", "channel": "sms", "locale": "de-DE", "country": "DE"},
    "shop-whatsapp": {"brand": "shop", "channel": "whatsapp", "locale": "de-DE", "country": "DE"},
    "shop-mail": {"brand": "shop", "channel": "mail", "locale": "de-DE", "country": "DE"},
    "shop-service": {"brand": "shop", "channel": "mail", "locale": "de-DE", "country": "DE"},
    "other-sms": {"brand": "other", "channel": "sms", "locale": "de-DE", "country": "DE"},
}
# handle -> (role, capacity, brands)
AGENTS: Mapping[str, tuple[str, int, Sequence[str]]] = {
    "anna": ("agent", 2, ("shop", "other")),
    "bernd": ("agent", 2, ("shop",)),
    "claire": ("agent", 2, ("shop",)),
    "gina": ("agent", 3, ("shop", "other")),
    "olaf": ("agent", 2, ("other",)),
    "sam": ("supervisor", 0, ("shop", "other")),
}
POOLS: Mapping[str, tuple[str | None, Mapping[str, str]]] = {
    "de": ("de", {"anna": "native", "bernd": "native", "claire": "fluent", "olaf": "native"}),
    "fr": ("fr", {"claire": "native"}),
    "all": (None, {"gina": "fluent"}),
}
PLANS: Mapping[str, tuple[str | None, Sequence[tuple[str, float]]]] = {
    "plan-de": ("de", (("de", 0.0), ("all", 0.5))),
    "plan-fr": ("fr", (("fr", 0.0), ("all", 0.5))),
    "plan-any": (None, (("all", 0.0),)),
}


def id_of(handle: str) -> UUID:
    return derived_id("world", handle)


@dataclass
class World:
    url: str
    clock: StoppedClock
    router: Database
    api: Database
    cache: ConfigurationCache = field(default_factory=ConfigurationCache)
    channels: Sequence[Channel] = tuple(CHANNELS.values())

    @property
    def inbound(self) -> Inbound:
        return Inbound(self.cache, self.channels)

    async def receive(self, *events: Event) -> None:
        """One batch on the topic `inbound`, committed."""
        async with self.router.transaction() as tx:
            await self.inbound(tx, events)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        async with self.router.transaction() as tx:
            return await tx.fetch(query, *args)

    async def value(self, query: str, *args: object) -> Any:
        async with self.router.transaction() as tx:
            return await tx.fetchval(query, *args)

    async def there(self, *handles: str) -> None:
        """These agents are available for a long time."""
        async with self.router.transaction() as tx:
            await tx.execute(
                "INSERT INTO router.presence (agent_id, status, until, idle_since, lapses) "
                "SELECT id, 'available', $2, $3, 0 FROM unnest($1::uuid[]) AS a (id) "
                "ON CONFLICT (agent_id) DO UPDATE SET status = 'available', until = excluded.until",
                [id_of(handle) for handle in handles],
                self.clock.at + timedelta(days=30),
                self.clock.at,
            )

    def message(
        self,
        text: str = "Wo bleibt meine Bestellung?",
        *,
        inbox: str = "shop-chat",
        sender: str = "kunde",
        name: str = "",
        verified_by: Literal["channel", "dmarc"] | None = "channel",
        key: str | None = None,
        at: datetime | None = None,
        **more: Any,
    ) -> Event:
        """A MessageReceived that arrived just now."""
        channel = INBOXES[inbox]["channel"]
        data = MessageReceived(
            channel=channel,
            keys=[key or str(new_id())],
            sender=Address(kind=CHANNELS[channel].address_kind, value=sender, name=name, verified_by=verified_by),
            occurred_at=at or self.clock.at,
            text=text,
            **{"reply_context": b"context"} | more,
        )
        return self.event(data, inbox)

    def event(self, data: Any, inbox: str = "shop-chat") -> Event:
        return Event(
            data=data,
            key=inbox,
            source="ingest",
            time=self.clock.at,
            brand_id=id_of(INBOXES[inbox]["brand"]),
            inbox_id=id_of(inbox),
        )


async def configure(database: Database) -> None:
    """Fills the schema `config` with the world above."""
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO config.client VALUES ($1, 'client', 'Client')", id_of("client"))
        for brand in BRANDS:
            await tx.execute("INSERT INTO config.brand VALUES ($1, $2, $3, $3)", id_of(brand), id_of("client"), brand)
        for channel in CHANNELS:
            await tx.execute(
                "INSERT INTO config.account VALUES ($1, $2, $2, $2, '{}')", id_of(f"account-{channel}"), channel
            )
        for handle, box in INBOXES.items():
            await tx.execute(
                "INSERT INTO config.inbox (id, brand_id, account_id, handle, channel, address, name, locale, country, "
                "settings) VALUES ($1, $2, $3, $4, $5, $4, $4, $6, $7, '{}')",
                id_of(handle), id_of(box["brand"]), id_of(f"account-{box['channel']}"), handle, box["channel"],
                box["locale"], box["country"],
            )  # fmt: skip
        for handle, (role, capacity, brands) in AGENTS.items():
            await tx.execute(
                "INSERT INTO config.agent (id, handle, name, role, capacity, brands) VALUES ($1, $2, $3, $4, $5, $6)",
                id_of(handle), handle, handle.title(), role, capacity, [id_of(brand) for brand in brands],
            )  # fmt: skip
        for handle, (language, members) in POOLS.items():
            await tx.execute(
                "INSERT INTO config.pool (id, handle, name, language, brands, channels) "
                "VALUES ($1, $2, $2, $3, '{}', '{}')", id_of(f"pool-{handle}"), handle, language,
            )  # fmt: skip
            for agent, level in members.items():
                await tx.execute(
                    "INSERT INTO config.pool_member VALUES ($1, $2, $3)", id_of(f"pool-{handle}"), id_of(agent), level
                )
        for handle, (language, steps) in PLANS.items():
            await tx.execute(
                "INSERT INTO config.plan (id, handle, brand_id, language, channel, steps) "
                "VALUES ($1, $2, NULL, $3, NULL, $4)",
                id_of(handle), handle, language,
                [{"pool": str(id_of(f"pool-{pool}")), "after": after} for pool, after in steps],
            )  # fmt: skip
        await tx.execute(
            "INSERT INTO config.policy (id, handle, first_response, warn_before) VALUES ($1, 'default', 3600, 1800)",
            id_of("policy"),
        )
        await tx.execute("UPDATE config.revision SET n = n + 1")


@asynccontextmanager
async def world(url: str) -> AsyncIterator[World]:
    """The configured world on a fresh database, its clock standing on a Monday morning."""
    clock = StoppedClock()
    router = Database(url, role="dragoman_router", clock=clock)
    api = Database(url, role="dragoman_api", clock=clock)
    await router.open()
    await api.open()
    try:
        await configure(router)
        yield World(url, clock, router, api)
    finally:
        await api.close()
        await router.close()
