"""The direction of imports, which keeps the tree in order.

events, errors, settings  <-  channels, db  <-  bus  <-  services; services never import each other.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Only these compose several services.
COMPOSERS = {"services.main", "services.together", "services.alone"}
# What a module below may not name; the most specific line holds.
FORBIDDEN = {
    "shared": ("shared.channels", "shared.db", "shared.bus", "services"),
    "shared.parts": ("shared.channels", "services"),
    "shared.channels": ("shared.db", "shared.bus", "services"),
    "shared.db": ("shared.channels", "shared.bus", "services"),
    "shared.bus": ("shared.channels", "services"),
    "services": COMPOSERS,
    "services.sandbox": ("shared.channels", *COMPOSERS),
    # As any program beside us: by the public API and the stand-ins' control.
    "services.demo": ("shared.channels", "shared.db", "shared.bus", *COMPOSERS),
}
# The pure core: values and rules.
PURE_OF_OURS = ("shared.accounts", "shared.callbacks", "shared.errors", "shared.events", "shared.ids", "shared.topics")
AWAITING = ("aiohttp", "aiokafka", "asyncio", "asyncpg", "fastapi", "httpx", "sqlalchemy", "sqlmodel", "starlette")
CLOCKS = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time")


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module

    @property
    def imports(self) -> set[str]:
        return {name for node in ast.walk(self.tree) for name in _named(node)}

    def naming(self, *packages: str) -> list[str]:
        """Its imports that lie in one of the packages, as lines for people."""
        return [f"{self.name} imports {name}" for name in sorted(self.imports) if _within(name, *packages)]


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        # `from shared import bus` names shared.bus as much as `import shared.bus` does.
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _modules() -> Iterator[Module]:
    for top in ("shared", "services"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield Module(name, ast.parse(path.read_text("utf-8")))


def _folders(package: str) -> list[str]:
    return [
        f"{package}.{path.parent.name}" for path in sorted((ROOT / package.replace(".", "/")).glob("*/__init__.py"))
    ]


MODULES = list(_modules())
SERVICES = _folders("services")
# What several channels of one vendor share.
FAMILIES = {"shared.channels.meta"}
CHANNELS = [folder for folder in _folders("shared.channels") if folder not in FAMILIES]
DOMAIN = [module for module in MODULES if ".domain." in module.name]


def test_the_walk_sees_the_tree_and_its_imports() -> None:
    consumer = next(module for module in MODULES if module.name == "shared.bus.consumer")
    assert {"shared.db.transaction.Transaction", "shared.bus.outbox", "asyncpg"} <= consumer.imports
    services = ("demo", "ingest", "responder", "router", "sandbox")
    assert [f"services.{name}" for name in services] == SERVICES
    assert "shared.channels.messenger" in CHANNELS
    assert {module.name.split(".")[1] for module in DOMAIN} == {"responder", "router"}


def test_imports_go_one_way() -> None:
    def forbidden(module: Module) -> tuple[str, ...]:
        return FORBIDDEN[max((package for package in FORBIDDEN if _within(module.name, package)), key=len)]

    assert [line for m in MODULES if m.name not in COMPOSERS for line in m.naming(*forbidden(m))] == []


def test_services_never_import_each_other() -> None:
    def others(module: Module) -> list[str]:
        return [service for service in SERVICES if not _within(module.name, service)]

    assert [line for m in MODULES if m.name not in COMPOSERS for line in m.naming(*others(m))] == []


def test_channels_never_import_each_other() -> None:
    inside = [(m, channel) for m in MODULES for channel in CHANNELS if _within(m.name, channel)]
    assert [line for m, own in inside for line in m.naming(*(c for c in CHANNELS if c != own))] == []


def test_the_domain_knows_itself_and_values_and_awaits_nothing() -> None:
    for module in DOMAIN:
        own = module.name.split(".domain.")[0] + ".domain"
        ours = {name for name in module.imports if _within(name, "shared", "services")}
        assert {name for name in ours if not _within(name, own, *PURE_OF_OURS)} == set(), module.name
        assert module.naming(*AWAITING) == []
        assert not [n for n in ast.walk(module.tree) if isinstance(n, ast.AsyncFunctionDef | ast.Await)], module.name


def test_the_domain_never_looks_at_the_clock() -> None:
    read = {ast.unparse(n) for module in DOMAIN for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)}
    assert read.isdisjoint(CLOCKS)


def test_only_the_consumer_loop_catches_everything() -> None:
    handlers = [(m.name, n) for m in MODULES for n in ast.walk(m.tree) if isinstance(n, ast.ExceptHandler)]
    assert {name for name, handler in handlers if _keeps_everything(handler)} == {"shared.bus.consumer"}


def _keeps_everything(handler: ast.ExceptHandler) -> bool:
    """Catches whatever comes and does not raise it again: tidying up on the way out is no catching."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    everything = any(n is None or ast.unparse(n) in {"Exception", "BaseException"} for n in caught)
    return everything and ast.unparse(handler.body[-1]) != "raise"
