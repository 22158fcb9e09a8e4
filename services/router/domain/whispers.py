"""What an agent hears before they are connected, in their own language: who waits for which brand, and about what."""

from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 60


@dataclass(frozen=True, slots=True)
class Phrases:
    """`somebody` stands for a customer who gave no name."""

    callback: str
    somebody: str
    matter: str


# The languages that agents of ours are spoken to in; everybody else hears English.
PHRASES: Mapping[str, Phrases] = {
    "da": Phrases("Tilbagekald for {brand}: {name}.", "en kunde", "Det drejer sig om {matter}."),
    "de": Phrases("Rückruf für {brand}: {name}.", "ein Kunde", "Es geht um {matter}."),
    "en": Phrases("Callback for {brand}: {name}.", "a customer", "It is about {matter}."),
    "es": Phrases("Llamada para {brand}: {name}.", "un cliente", "Se trata de {matter}."),
    "fi": Phrases("Takaisinsoitto, {brand}: {name}.", "asiakas", "Asia: {matter}."),
    "fr": Phrases("Rappel pour {brand} : {name}.", "un client", "Il s'agit de {matter}."),
    "it": Phrases("Richiamata per {brand}: {name}.", "un cliente", "Si tratta di {matter}."),
    "ja": Phrases("{brand}への折り返し電話です。{name}。", "お客様", "ご用件は{matter}です。"),
    "nb": Phrases("Tilbakeringing for {brand}: {name}.", "en kunde", "Det gjelder {matter}."),
    "nl": Phrases("Terugbelverzoek voor {brand}: {name}.", "een klant", "Het gaat over {matter}."),
    "pl": Phrases("Oddzwonienie dla {brand}: {name}.", "klient", "Sprawa: {matter}."),
    "sv": Phrases("Återuppringning för {brand}: {name}.", "en kund", "Det gäller {matter}."),
}


def whisper(language: str | None, brand: str, name: str, matter: str | None) -> tuple[str, str]:
    """The language that there are phrases for, and the sentences in it."""
    spoken = language if language in PHRASES else "en"
    phrases = PHRASES[spoken or "en"]
    said = phrases.callback.format(brand=_short(brand), name=_short(name) or phrases.somebody)
    if matter:
        said += " " + phrases.matter.format(matter=_short(matter))
    return spoken or "en", said


def _short(words: str) -> str:
    """What fits into a sentence that somebody listens to, on one line."""
    return " ".join(words.split())[:LONGEST]
