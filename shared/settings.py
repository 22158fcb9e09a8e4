"""Every environment variable is one field here with its meaning; read once at start and passed on as an argument."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The variables begin with `DRAGOMAN_`."""

    model_config = SettingsConfigDict(env_prefix="DRAGOMAN_")

    data_dir: Path = Field(Path(".dragoman"), description="Embedded database, spool and keys of `dragoman run`.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, description="Port to listen on.")
    public_url: str = Field(
        "", description="Address by which vendors reach us, without a path; http://HOST:PORT unless it is given."
    )
    database_url: str | None = Field(None, description="A PostgreSQL server; without it an embedded one is started.")
    kafka_bootstrap: str | None = Field(
        None, description="Addresses of Kafka brokers, comma separated; without them the bus is this process."
    )
    kafka_prefix: str = Field("", description="Put before every topic and group name: one prefix per cell.")
    kafka_session: float = Field(
        30.0, description="Seconds of silence after which a consumer's partitions go to others."
    )
    # Fixed at creation: growing it would send a key to another partition and break its order.
    topic_partitions: int = Field(12, description="Partitions of a topic when `dragoman topics` creates it.")
    spool_dir: Path | None = Field(None, description="Where ingest keeps events while the bus is away; a volume.")
    spool_limit: int = Field(1_000_000_000, description="Most bytes of the spool; beyond it webhooks get 503.")
    secret_keys: list[SecretStr] = Field(
        default=[], description="Fernet keys for the accounts' secrets, newest first (JSON list)."
    )
    development_tokens: bool = Field(
        False, description="Accept `dev-NAME` as an agent's token; only the embedded default sets it."
    )
    oidc_issuer: str | None = Field(
        None, description="OpenID issuer whose tokens agents sign in with, exactly as it calls itself; https."
    )
    oidc_audience: str | None = Field(None, description="What its tokens for this API name as their audience.")
    oidc_claim: str = Field("sub", description="Claim that says which agent: an agent's subject, else the handle.")
    oidc_client_id: str | None = Field(None, description="The console's public client at the issuer.")
    oidc_scopes: str = Field("openid", description="Scopes that the console asks the issuer for, by blanks.")
    hooks_in_flight: int = Field(512, description="Webhook requests handled at once; beyond it 503.")
    hooks_bytes_in_flight: int = Field(256_000_000, description="Bytes of webhook bodies held at once; beyond it 503.")
    poll_every: float = Field(300.0, description="Seconds between polls of an account that calls nobody.")
    plain_httpx: bool = Field(False, description="Use httpx's own transport towards vendors instead of aiohttp's.")
    demo_url: str | None = Field(
        None, description="A running Dragoman with stand-ins that `dragoman demo` is shown on, instead of its own."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines on stderr.")
    media_dir: Path | None = Field(None, description="Folder of customers' files; DATA_DIR/media unless it is given.")
    media_url: str | None = Field(
        None, description="An S3 bucket for them instead, s3://BUCKET/PREFIX; its keys come from the AWS_ variables."
    )
    webhook_hosts: list[str] = Field(
        default=[], description="Receivers of alerts in our own network, without TLS too (JSON list of addresses)."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged; of libraries INFO, for what they say below quotes customers."
    )
    traces_url: str | None = Field(
        None, description="Where an OpenTelemetry collector takes traces, http://HOST:4318/v1/traces; none without it."
    )

    @property
    def address(self) -> str:
        """How the world reaches this process: scheme, host and port."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
