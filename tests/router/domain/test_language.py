"""Which language a message is taken to be in, by example, with the detector that is shipped."""

import pytest

from services.router.domain.language import Verdict, decide, py3langid

SERVED = frozenset({"da", "de", "en", "es", "fr", "it", "ja", "nb", "nl", "pl", "pt", "sv"})
BY_WORDS = {
    "de": ["Wo bleibt meine Bestellung?", "Paket beschädigt, bitte Ersatz", "Rechnung fehlt", "WO IST MEIN PAKET"],
    "en": ["Where is my order, please?", "Invoice missing", "Good morning", "any news?"],
    "fr": ["Où est ma commande ?", "merci beaucoup", "OU EST MON COLIS"],
    "es": ["¿Dónde está mi pedido? Llevo dos semanas esperando.", "muchas gracias", "falta la factura"],
    "it": ["Dov'è il mio ordine? Aspetto da due settimane.", "manca la fattura"],
    "ja": ["注文した商品はまだですか?", "返品したいです"],
    "nb": ["Hvor blir det av bestillingen min? Jeg har ventet i to uker.", "Pakken er skadet, vennligst send en ny"],
    "nl": ["Waar blijft mijn bestelling?", "factuur ontbreekt"],
    "pl": ["Gdzie jest moje zamówienie?", "gdzie jest moje zamowienie"],
    "pt": ["Onde está a minha encomenda? Estou à espera há duas semanas.", "muito obrigado"],
    "sv": ["Var är min beställning? Jag har väntat i två veckor.", "tack så mycket"],
}
SERVED_BY_NOBODY = {
    "Arabic": "أين طلبي؟ لم يصلني الطرد بعد",
    "Czech": "Kde je moje objednávka? Čekám už dva týdny.",
    "Finnish": "Missä tilaukseni on? Olen odottanut kaksi viikkoa.",
    "Greek": "Πού είναι η παραγγελία μου;",
    "Hebrew": "איפה ההזמנה שלי?",
    "Hindi": "मेरा ऑर्डर कहाँ है?",
    "Hungarian": "köszönöm szépen",
    "Korean": "제 주문은 어디에 있나요?",
    "Romanian": "mulțumesc mult",
    "Russian": "Где мой заказ? Жду уже две недели.",
    "Thai": "สินค้าของฉันอยู่ที่ไหน",
    "Turkish": "Paket hasarlı geldi",
    "Ukrainian": "Де моє замовлення?",
}


def verdict(text: str, languages: frozenset[str] = SERVED, **more: object) -> Verdict:
    return decide(text, languages, **({"known": {}, "detect": py3langid} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(("language", "text"), [(lang, text) for lang, texts in BY_WORDS.items() for text in texts])
def test_words_tell_a_language_that_somebody_serves(language: str, text: str) -> None:
    found = verdict(text)
    assert (found.language, found.by) == (language, "words")


@pytest.mark.parametrize("name", SERVED_BY_NOBODY)
def test_a_language_that_nobody_serves_is_none_of_those_that_somebody_does(name: str) -> None:
    text = SERVED_BY_NOBODY[name]
    found = verdict(text)
    assert (found.language, found.by) == (None, "undetermined")
    # What else is known of inbox and customer does not make it English either.
    assert verdict(text, locale="en-GB", country="GB", known={"en": 3}).language is None
    assert verdict(text, frozenset({"de", "en"})).language is None


def test_among_few_languages_the_others_are_still_told_apart() -> None:
    two = frozenset({"de", "en"})
    for language, texts in BY_WORDS.items():
        for text in texts:
            assert verdict(text, two).language == (language if language in two else None), text


def test_the_same_words_are_theirs_once_somebody_serves_them() -> None:
    assert verdict(SERVED_BY_NOBODY["Arabic"], SERVED | {"ar"}).language == "ar"
    assert verdict(SERVED_BY_NOBODY["Czech"], SERVED | {"cs"}).language == "cs"


def test_an_open_conversation_keeps_its_language() -> None:
    found = verdict(SERVED_BY_NOBODY["Turkish"], conversation="de", conversation_by="words")
    assert (found.language, found.by) == ("de", "conversation")


def test_a_language_without_a_detector_is_told_by_what_else_is_known() -> None:
    assert verdict("Où est ma commande ?", frozenset({"xx"}), known={"xx": 2}).language == "xx"
    assert verdict("Où est ma commande ?", frozenset({"xx", "de"}), known={"xx": 2}).language is None
