"""Reading a file: every mistake named by its line, and no secret quoted."""

from datetime import timedelta

import pytest

from tests.router.configuration.small import SMALL, VARIABLES, problems, small


def test_values_are_what_was_written_and_settings_keep_their_type() -> None:
    wanted = small()
    assert wanted.inboxes["shop-no"].address == "0100"
    assert wanted.inboxes["shop-no"].country == "NO"
    assert wanted.accounts["meta"].settings == {
        "url": "http://vendor/graph",
        "retries": 3,
        "live": True,
        "app_id": "0017",
    }
    assert wanted.policies["default"].first_response == timedelta(hours=8)
    assert wanted.plans["nb"].steps[1].after == 0.5
    assert [value.get_secret_value() for value in wanted.accounts["meta"].secrets["hook_token"]] == [
        "new-token", "old-token",
    ]  # fmt: skip


def test_a_value_of_a_variable_is_text_whatever_it_holds() -> None:
    wanted = small(variables={**VARIABLES, "APP_SECRET": "a: [b, #c"})
    assert wanted.accounts["meta"].secrets["app_secret"][0].get_secret_value() == "a: [b, #c"


# What is replaced in SMALL, by what, and the one mistake that must be named.
MISTAKES = {
    "unknown client": ("client: acme, name: Shop", "client: acne, name: Shop",
                       "4: there is no `acne` in clients; add it there or mend the name"),
    "unknown channel": ("channel: chat", "channel: chart", "8: there is no channel `chart`; there are chat, market"),
    "unknown brand": ("{brand: shop, account", "{brand: shoe, account",
                      "15: there is no `shoe` in brands; add it there or mend the name"),
    "unknown account": ("account: meta", "account: mata",
                        "15: there is no `mata` in accounts; add it there or mend the name"),
    "unknown agent": ("native: [anna]", "native: [anne]",
                      "20: there is no `anne` in agents; add it there or mend the name"),
    "unknown pool": ("{pool: all, after: 0.5}", "{pool: some, after: 0.5}",
                     "23: there is no `some` in pools; add it there or mend the name"),
    "unknown brand of a key": ("supervisor, brands: [shop]", "supervisor, brands: [shop, shoe]",
                               "28: there is no `shoe` in brands; add it there or mend the name"),
    "unknown section": ("api_keys:", "api_kees:", "27: `api_kees` is not known here; remove it or mend its name"),
    "unknown key": ("capacity: 4", "capacity: 4, colour: red",
                    "17: `colour` is not known here; remove it or mend its name"),
    "missing key": ("capacity: 4, ", "", "17: `capacity` is missing; add it"),
    "no capacity": ("capacity: 4", "capacity: 0", "17: `capacity`: input should be greater than or equal to 1"),
    "a language by another name": ("language: nb, native", "language: Norwegian, native",
                                   "20: `language`: a language is a short code such as de, nb or fil"),
    "a country that is none": ("country: NO", "country: UK", "15: `country`: the code of that country is GB"),
    "a locale that is none": ("locale: nb-NO", "locale: nb_NO", "15: `locale`: a locale is written like de or de-CH"),
    "a handle that is none": ("  shop-no:", "  Shop NO:",
                              "15: `Shop NO`: a handle has small letters, digits, dots and hyphens only"),
    "a time without unit": ("first_response: 8h", "first_response: 3600",
                            "26: `first_response`: a time is a number and s, m, h or d, such as 30m"),
    "a warning after the end": ("warn_before: 60m", "warn_before: 8h",
                                "26: `default`: `warn_before` is shorter than `first_response`"),
    "shares that do not begin with 0": ("{pool: nb, after: 0}", "{pool: nb, after: 0.1}",
                                        "23: `nb`: the steps' `after` begins with 0 and grows from step to step"),
    "shares that do not grow": ("after: 0.5", "after: 0",
                                "23: `nb`: the steps' `after` begins with 0 and grows from step to step"),
    "a share of all the time": ("after: 0.5", "after: 1", "23: `steps.1.after`: input should be less than 1"),
    "no last resort": ("default: {steps", "default: {channel: chat, steps",
                       "22: a plan without brand, language and channel is missing; add it as the last resort"),
    "a last resort for some": ("all: {name: Everybody,", "all: {name: Everybody, brands: [shop],",
                               "24: the last resort needs a pool that serves all brands and channels"),
    "an agent twice in a pool": ("fluent: [bernd]}\n  all", "fluent: [anna, bernd]}\n  all",
                                 "20: `anna` stands in this pool twice; native or fluent, once"),
    "a native of no language": ("Everybody, fluent", "Everybody, native",
                                "21: a pool without `language` has no native speakers; list them as fluent"),
    "a hook token that fits no address": ("[new-token,", "[new/token,",
                                          "12: a hook token stands in an address: letters, digits, - and _ only"),
    "a key in no form": ("plain: a-key-of-a-program", "expires_at: 2030-01-01T00:00:00Z",
                         "28: `frontend`: give either `sha256` or `plain`"),
    "a key that is too short": ("a-key-of-a-program", "short", "28: `plain`: value should have at least 16 items"
                                " after validation, not 5"),
    "a scope beyond the role": ("supervisor, brands: [shop]", "supervisor, scopes: [read, admin], brands: [shop]",
                                "28: `frontend`: the role supervisor may not admin; leave that out of `scopes`"),
    "the subject of another's handle": ("{name: Bernd,", "{name: Bernd, subject: anna,",
                                        "18: `anna` has the same subject (without one, that is the handle); "
                                        "keep one of them"),
    "a variable that is not set": ("${APP_SECRET}", "${APP_SECRETS}",
                                   "13: the variable APP_SECRETS is not set; set it in the environment"),
    "the same name twice": ("  other: {client: acme, name: Other}", "  shop: {client: acme, name: Other}",
                            "5: `shop` stands here twice; remove one"),
    "the same address twice": ("agents:", "  second: {brand: other, account: meta, address: 0100, name: X}\nagents:",
                               "16: `shop-no` has the same account and address; keep one of them"),
    "the same plan twice": ("policies:", "  again: {language: nb, steps: [{pool: all, after: 0}]}\npolicies:",
                            "25: `nb` has the same brand, language and channel; keep one of them"),
    "an alias": ("brands: [shop]}\n  bernd", "brands: *all}\n  bernd",
                 "17: this is not YAML: an alias (*name); write the value out"),
    "no YAML": ("agents:", "agents: [", "18: this is not YAML: "),
    "no text": ("Anna", "\x07", "17: this is not YAML: a character that no text has; save the file as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_by_file_and_line(name: str) -> None:
    what, by, told = MISTAKES[name]
    assert what in SMALL
    found = problems(SMALL.replace(what, by, 1))
    assert any(problem.startswith(f"small.yaml:{told}") for problem in found), found


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines() -> None:
    text = (
        SMALL.replace("client: acme, name: Shop", "client: acne, name: Shop")
        .replace("country: NO", "country: Norway")
        .replace("native: [anna]", "native: [anne]")
        .replace("capacity: 2", "capacity: many")
    )
    assert [problem.split(": ")[0] for problem in problems(text)] == [
        "small.yaml:4", "small.yaml:15", "small.yaml:18", "small.yaml:20",
    ]  # fmt: skip


def test_an_entry_with_a_mistake_is_not_missing_elsewhere() -> None:
    assert len(problems(SMALL.replace("capacity: 2", "capacity: 0"))) == 1


@pytest.mark.parametrize("text", ["", "clients:", "- a\n- b", "just words", "a: b: c", "!!python/object:os.system {}"])
def test_a_file_that_is_no_configuration_is_refused(text: str) -> None:
    assert problems(text)


@pytest.mark.parametrize(
    "wrong",
    [SMALL.replace("${APP_SECRET}", "{a: s3cret-value}"), SMALL.replace("${APP_SECRET}", '"s3cret-value'),
     SMALL.replace("[new-token, old-token]", "[s3cret/value]"), SMALL.replace("a-key-of-a-program", "s3cret-value"),
     SMALL.replace("plain: a-key", "sha256: s3cret-value-key")],
)  # fmt: skip
def test_no_secret_is_quoted_by_a_mistake(wrong: str) -> None:
    assert "s3cret" not in "\n".join(problems(wrong))


def test_no_secret_is_shown_by_what_was_read() -> None:
    assert "s3cret" not in repr(small())
    assert "a-key-of-a-program" not in repr(small())
