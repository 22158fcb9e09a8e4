"""The sample that ships can be applied and holds the targets of the trade."""

from datetime import timedelta
from pathlib import Path

from services.router.configuration import Wanted, apply, diff, load
from services.router.domain.hours import described
from services.router.domain.plan import choose_policies
from services.router.store.configuration import ConfigurationCache
from shared.channels.registry import CHANNELS
from shared.db.transaction import Database
from shared.secrets import Vault

SAMPLE = Path(__file__).parent.parent.parent.parent / "deploy" / "config" / "sample.yaml"


def sample() -> Wanted:
    names = [channel.name for channel in CHANNELS]
    variables = {"SANDBOX_URL": "http://127.0.0.1:1/sandbox", "SANDBOX_IMAP_PORT": "1143", "SANDBOX_SMTP_PORT": "1025"}
    return load(SAMPLE.read_text("utf-8"), SAMPLE.name, variables, names)


def test_the_sample_gives_every_language_natives_and_a_fluent_fallback() -> None:
    wanted = sample()
    languages = {"de", "fr", "it", "es", "nl", "pl", "en", "sv", "da", "nb", "fi", "ja"}
    assert {plan.language for plan in wanted.plans.values()} == {*languages, None}
    for language in languages:
        [steps] = [plan.steps for plan in wanted.plans.values() if plan.language == language]
        assert [step.after for step in steps] == [0, 0.4, 0.7]
        natives, fluent, generalists = (wanted.pools[step.pool] for step in steps)
        assert len(natives.native) >= 2
        assert not natives.fluent
        assert fluent.fluent
        assert natives.language == fluent.language == language
        assert generalists.language is None


async def test_the_sample_can_be_applied_and_holds_the_targets_of_the_trade(database: Database, vault: Vault) -> None:
    async with database.transaction() as tx:
        await apply(tx, sample(), vault, "test")
        read = await ConfigurationCache().current(tx)
        assert await diff(tx, sample(), vault) == []
    assert (len(read.brand_names), len(read.inboxes), len(read.agents)) == (3, 16, 30)
    targets = {
        (inbox.name, policy.family): (policy.first_response, policy.warn_before, policy.hours is None)
        for inbox in read.inboxes.values()
        for policy in choose_policies(read, inbox.brand_id, inbox.channel, inbox.country)
    }
    minutes, hours = (lambda n: timedelta(minutes=n)), (lambda n: timedelta(hours=n))
    assert targets == {
        **dict.fromkeys(
            [
                ("Alpenlicht on Messenger", "contract"), ("Bergwerk on Messenger", "contract"),
                ("Alpenlicht on WhatsApp", "contract"), ("Seabird on WhatsApp", "contract"),
                ("Alpenlicht on WhatsApp (Twilio)", "contract"), ("Seabird on WhatsApp (Twilio)", "contract"),
                ("Alpenlicht by SMS", "contract"), ("Seabird by SMS", "contract"),
            ],
            (minutes(60), minutes(30), True),
        ),
        ("Seabird on Messenger", "contract"): (minutes(15), minutes(5), True),
        ("Alpenlicht FR", "contract"): (hours(8), hours(1), False),
        ("Alpenlicht FR", "marketplace"): (hours(24), hours(4), True),
        ("Seabird ES", "marketplace"): (hours(24), hours(4), True),
        **dict.fromkeys(
            [("Alpenlicht", "contract"), ("Alpenlicht Retours", "contract"), ("Seabird", "contract")],
            (hours(8), hours(1), False),
        ),
        ("Alpenlicht by telephone", "contract"): (minutes(15), minutes(5), True),
        ("Seabird by telephone", "contract"): (minutes(5), minutes(2), True),
    }  # fmt: skip
    brand = next(iter(read.brand_names))
    [anything] = choose_policies(read, brand, "a channel without targets of its own", "FR")
    assert (anything.handle, anything.hours and described(anything.hours)) == (
        "default", "Office hours, Mon-Fri 9-17 Berlin"
    )  # fmt: skip
