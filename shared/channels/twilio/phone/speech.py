"""What machines say on a line, by language.

Source: Twilio, "TwiML Voice: <Say>", the languages of its standard voices, TwiML 2010-04-01.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from twilio.twiml.voice_response import Gather, VoiceResponse

from shared.accounts import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """The vendor's code of the language, and the sentences in it."""

    code: str
    press: str
    absent: str
    busy: str
    failed: str
    called_back: str


SPEECH: Mapping[str, Speech] = {
    "da": Speech(code="da-DK", press="Tryk på 1 for at blive forbundet.", absent="Kunden svarer ikke.",
                 busy="Kundens telefon er optaget.", failed="Kunden kunne ikke ringes op.",
                 called_back="Tak for dit opkald. Vi ringer tilbage."),
    "de": Speech(code="de-DE", press="Drücken Sie die 1, um verbunden zu werden.", absent="Der Kunde nimmt nicht ab.",
                 busy="Beim Kunden ist besetzt.", failed="Der Kunde konnte nicht angerufen werden.",
                 called_back="Danke für Ihren Anruf. Wir rufen Sie zurück."),
    "en": Speech(code="en-GB", press="Press 1 to be connected.", absent="The customer does not answer.",
                 busy="The customer's line is busy.", failed="The customer could not be called.",
                 called_back="Thank you for calling. We will call you back."),
    "es": Speech(code="es-ES", press="Pulse 1 para conectar.", absent="El cliente no contesta.",
                 busy="El cliente comunica.", failed="No se ha podido llamar al cliente.",
                 called_back="Gracias por su llamada. Le devolveremos la llamada."),
    "fi": Speech(code="fi-FI", press="Paina 1, niin yhdistämme.", absent="Asiakas ei vastaa.",
                 busy="Asiakkaan linja on varattu.", failed="Asiakkaalle ei voitu soittaa.",
                 called_back="Kiitos soitosta. Soitamme takaisin."),
    "fr": Speech(code="fr-FR", press="Appuyez sur 1 pour être mis en relation.", absent="Le client ne répond pas.",
                 busy="La ligne du client est occupée.", failed="Le client n'a pas pu être appelé.",
                 called_back="Merci de votre appel. Nous vous rappelons."),
    "it": Speech(code="it-IT", press="Prema 1 per essere collegato.", absent="Il cliente non risponde.",
                 busy="La linea del cliente è occupata.", failed="Non è stato possibile chiamare il cliente.",
                 called_back="Grazie della chiamata. La richiameremo."),
    "ja": Speech(code="ja-JP", press="おつなぎするには1を押してください。", absent="お客様は応答されません。",
                 busy="お客様はお話し中です。", failed="お客様におかけできませんでした。",
                 called_back="お電話ありがとうございます。こちらから折り返しお電話いたします。"),
    "nb": Speech(code="nb-NO", press="Trykk 1 for å bli koblet til.", absent="Kunden svarer ikke.",
                 busy="Kundens telefon er opptatt.", failed="Kunden kunne ikke ringes opp.",
                 called_back="Takk for at du ringte. Vi ringer deg tilbake."),
    "nl": Speech(code="nl-NL", press="Druk op 1 om te worden doorverbonden.", absent="De klant neemt niet op.",
                 busy="De lijn van de klant is bezet.", failed="De klant kon niet worden gebeld.",
                 called_back="Bedankt voor uw telefoontje. Wij bellen u terug."),
    "pl": Speech(code="pl-PL", press="Naciśnij 1, aby uzyskać połączenie.", absent="Klient nie odbiera.",
                 busy="Linia klienta jest zajęta.", failed="Nie udało się zadzwonić do klienta.",
                 called_back="Dziękujemy za telefon. Oddzwonimy."),
    "sv": Speech(code="sv-SE", press="Tryck 1 för att bli kopplad.", absent="Kunden svarar inte.",
                 busy="Kundens telefon är upptagen.", failed="Kunden kunde inte ringas upp.",
                 called_back="Tack för att du ringde. Vi ringer upp dig."),
}  # fmt: skip


def speech(language: str | None) -> Speech:
    """English where there is no speech in a language."""
    return SPEECH.get(language or "", SPEECH["en"])


def say(verb: VoiceResponse | Gather, text: str, language: str | None, account: Account) -> None:
    """In the vendor's standard voice of the language, or the one that the account names for it.

    Raises nothing for a wrong voice; the vendor then ends the call (13511).
    """
    voices = account.settings.get("voices", {})
    voice = voices.get(language) if isinstance(voices, dict) else None
    verb.say(text, language=speech(language).code, **({"voice": voice} if voice else {}))
