"""Where a customer's file is: at the operator's instance, for whoever has the key, and nowhere else."""

from dataclasses import replace

import pytest

from shared.accounts import Account
from shared.channels.contract import Source
from shared.channels.mirakl import channel
from shared.errors import InboxMisconfigured, Rejected
from shared.events import Attachment
from tests.channels.mirakl.sample import ACCOUNT, INBOX


async def located(external_id: str, account: Account = ACCOUNT) -> Source:
    assert channel.locate is not None
    return await channel.locate(None, Attachment(kind="file", external_id=external_id), account, INBOX)


async def test_a_file_is_fetched_by_its_id_with_the_bare_key() -> None:
    source = await located("5f6e/../7")
    assert source.url == ("https://market-prod.mirakl.example/api/inbox/threads/5f6e%2F..%2F7/download?shop_id=2001")
    assert dict(source.headers) == {"Authorization": "f3a1c0de-key-of-the-shop"}
    assert source.hosts == {"market-prod.mirakl.example"}


async def test_what_cannot_be_fetched_says_why() -> None:
    with pytest.raises(Rejected) as found:
        await located("")
    assert found.value.code == "no_address"
    with pytest.raises(InboxMisconfigured):
        await located("5f6e", replace(ACCOUNT, settings={}))
    with pytest.raises(InboxMisconfigured):
        await located("5f6e", replace(ACCOUNT, secrets={}))
