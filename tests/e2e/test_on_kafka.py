"""The same way over three processes and a real Kafka."""

from pathlib import Path

import pytest

from tests.e2e.every_channel import every_channel
from tests.e2e.processes import cell
from tests.e2e.running import Running
from tests.e2e.test_in_process import twelve_messages


@pytest.mark.kafka
async def test_twelve_messages_go_the_whole_way_over_three_processes(
    database_url: str, kafka: str, tmp_path: Path
) -> None:
    async with cell(database_url, kafka, tmp_path) as running:
        await twelve_messages(Running(running.api, running.http, running.sandbox_url))


@pytest.mark.kafka
async def test_customers_on_every_channel_are_answered_over_three_processes(
    database_url: str, kafka: str, tmp_path: Path
) -> None:
    async with cell(database_url, kafka, tmp_path) as running:
        await every_channel(Running(running.api, running.http, running.sandbox_url))
