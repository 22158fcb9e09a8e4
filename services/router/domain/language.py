"""The language of a message: its own words, weighed with what the customer used before, the inbox and the country."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

# The chance of each language that it knows, given the words alone; a function so that it can be swapped.
Detect = Callable[[str], Mapping[str, float]]

# Below this nobody is told that it is this language; the generalists look at it.
CUT = 0.5
# Where one that nobody serves is so many times as likely as the best of those that somebody does, it is none of these.
FOREIGN = 5.0
# Fewer letters than this say nothing by themselves ("ok", "hi", an order number).
LETTERS = 6
# Whoever reads so many letters knows the language; a batch of long mails would hold the loop for seconds.
LOOKED_AT = 1_500
# One short word keeps what the conversation speaks already.
SHORT_WORD = 12

# How much each kind of evidence can multiply the chance that the words give.
HISTORY_WEIGHT = 3.0
INBOX_WEIGHT = 2.0
COUNTRY_WEIGHT = 1.0

# A country never equals a language; those with several say little.
COUNTRIES: Mapping[str, tuple[str, ...]] = {
    "AT": ("de",),
    "BE": ("nl", "fr", "de"),
    "CA": ("en", "fr"),
    "CH": ("de", "fr", "it"),
    "DE": ("de",),
    "DK": ("da",),
    "ES": ("es",),
    "FI": ("fi", "sv"),
    "FR": ("fr",),
    "GB": ("en",),
    "IE": ("en",),
    "IT": ("it",),
    "JP": ("ja",),
    "LU": ("fr", "de"),
    "NL": ("nl",),
    "NO": ("nb",),
    "PL": ("pl",),
    "SE": ("sv",),
    "US": ("en",),
}
# A sign of Chinese, Japanese or Korean says as much as a few letters.
_FIRST_SIGN = "\u2e80"
_LETTERS_OF_A_SIGN = 3
_NOISE = re.compile(r"https?://\S+|\S+@\S+|\S*\d\S*")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`language` is None where it stays undetermined; `by` names the evidence that decided."""

    language: str | None
    by: str
    evidence: Mapping[str, object] = field(default_factory=dict)


def decide(
    text: str,
    languages: frozenset[str],
    *,
    known: Mapping[str, int],
    conversation: str | None = None,
    conversation_by: str = "",
    locale: str | None = None,
    country: str | None = None,
    detect: Detect,
) -> Verdict:
    """The language of a message among `languages`, those that somebody serves.

    `known` counts the languages of the customer so far; `conversation` is what this one speaks, set by
    `conversation_by`: an agent's word holds whatever the words look like.
    """
    if conversation is not None and conversation_by == "agent":
        return Verdict(conversation, "agent")
    words = own_words(text)
    letters = sum(_LETTERS_OF_A_SIGN if c > _FIRST_SIGN else 1 for c in words if c.isalpha())
    if conversation is not None and (letters < LETTERS or (" " not in words and letters < SHORT_WORD)):
        return Verdict(conversation, "conversation")
    prior = _prior(languages, known, locale, country)
    if letters < LETTERS:
        return _from_prior(prior, known, locale, country, letters)
    chances = detect(words)
    weighed = {language: chances[language] * prior[language] for language in languages & chances.keys()}
    elsewhere = max((chance for language, chance in chances.items() if language not in weighed), default=0.0)
    if not weighed:
        return _from_prior(prior, known, locale, country, letters)
    best = max(weighed, key=lambda language: (weighed[language], language))
    certainty = weighed[best] / (sum(weighed.values()) or 1.0)
    words_alone = chances[best] / (sum(chances[language] for language in weighed) or 1.0)
    evidence = {"letters": letters, "words": round(words_alone, 3), "certainty": round(certainty, 3)}
    if certainty < CUT or elsewhere > FOREIGN * weighed[best]:
        return Verdict(conversation, "conversation" if conversation else "undetermined", evidence)
    return Verdict(best, "words", evidence)


def own_words(text: str) -> str:
    """The beginning of the text without quoted lines, addresses and anything with a digit."""
    own, length = [], 0
    for line in text.splitlines():
        if not line.lstrip().startswith(">"):
            own.append(line)
            length += len(line)
        if length >= LOOKED_AT:
            break
    return " ".join(_NOISE.sub(" ", "\n".join(own)[:LOOKED_AT]).split())


def _prior(
    languages: frozenset[str], known: Mapping[str, int], locale: str | None, country: str | None
) -> dict[str, float]:
    prior = dict.fromkeys(languages, 1.0)
    total = sum(known.values())
    for language, count in known.items():
        if language in prior:
            prior[language] += HISTORY_WEIGHT * count / total
    spoken = _language_of(locale)
    if spoken in prior:
        prior[spoken] += INBOX_WEIGHT
    for language in COUNTRIES.get(country or "", ()):
        if language in prior:
            prior[language] += COUNTRY_WEIGHT / len(COUNTRIES[country or ""])
    return prior


def _from_prior(
    prior: Mapping[str, float], known: Mapping[str, int], locale: str | None, country: str | None, letters: int
) -> Verdict:
    """Without words: what the customer used before, then the inbox, then the country where it has one language."""
    evidence = {"letters": letters}
    used = {language: count for language, count in known.items() if language in prior}
    if used:
        return Verdict(max(used, key=lambda language: (used[language], language)), "customer", evidence)
    spoken = _language_of(locale)
    if spoken in prior:
        return Verdict(spoken, "inbox", evidence)
    there: Sequence[str] = COUNTRIES.get(country or "", ())
    if len(there) == 1 and there[0] in prior:
        return Verdict(there[0], "country", evidence)
    return Verdict(None, "undetermined", evidence)


def _language_of(locale: str | None) -> str | None:
    return locale.replace("_", "-").split("-")[0].lower() if locale else None


# What the detector calls otherwise than we do, or tells apart where readers do not.
OUR_NAMES = {
    "no": "nb", "nn": "nb", "tl": "fil", "ary": "ar", "arz": "ar", "wuu": "zh", "yue": "zh", "hbo": "he", "grc": "el",
}  # fmt: skip


def py3langid(text: str) -> Mapping[str, float]:
    """Chances by py3langid, of every language that it knows."""
    chances: dict[str, float] = {}
    for label, chance in load_model().rank(text):
        language = OUR_NAMES.get(label, label)
        chances[language] = chances.get(language, 0.0) + float(chance)
    return chances


def detected_languages() -> frozenset[str]:
    """Those that py3langid can tell by their words."""
    return frozenset(OUR_NAMES.get(label, label) for label in load_model().labels)


@lru_cache(maxsize=1)
def load_model() -> Any:
    """The model, which takes half a second and 100 MB: the router loads it before it is ready."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
