"""Replies apart from what they quote, as mail programs of many languages write them below each other."""

import pytest

from shared.channels.email.content import content_of, parse
from shared.channels.email.quotes import reply_of

REPLY = "Thank you, that helps.\n\nOrder 4711, Marie"

ATTRIBUTIONS = {
    "gmail_en": "On Mon, Aug 3, 2026 at 10:00 AM Shop <support@shop.example> wrote:",
    "gmail_en_wrapped": "On Mon, Aug 3, 2026 at 10:00 AM Shop\n<support@shop.example> wrote:",
    "apple_en": "On 3 Aug 2026, at 10:00, Shop <support@shop.example> wrote:",
    "gmail_de": "Am Mo., 3. Aug. 2026 um 10:00 Uhr schrieb Shop <support@shop.example>:",
    "apple_de": "Am 03.08.2026 um 10:00 schrieb Shop <support@shop.example>:",
    "gmail_fr": "Le lun. 3 août 2026 à 10:00, Shop <support@shop.example> a écrit :",
    "gmail_it": "Il giorno lun 3 ago 2026 alle ore 10:00 Shop <support@shop.example> ha scritto:",
    "gmail_es": "El lun, 3 ago 2026 a las 10:00, Shop (<support@shop.example>) escribió:",
    "gmail_nl": "Op ma 3 aug 2026 om 10:00 schreef Shop <support@shop.example>:",
    "gmail_pl": "pon., 3 sie 2026 o 10:00 Shop <support@shop.example> napisał(a):",
    "apple_pl": "Wiadomość napisana przez Shop <support@shop.example> w dniu 3 sie 2026, o godz. 10:00:",
    "gmail_sv": "Den mån 3 aug. 2026 kl 10:00 skrev Shop <support@shop.example>:",
    "gmail_da": "Den man. 3. aug. 2026 kl. 10.00 skrev Shop <support@shop.example>:",
    "gmail_fi": "ma 3. elok. 2026 klo 10.00 Shop (support@shop.example) kirjoitti:",
    "gmail_ja": "2026年8月3日(月) 10:00 Shop <support@shop.example>:",
    "apple_ja": "2026/08/03 10:00、Shop <support@shop.example>のメール:",
    "gmail_pt": "Em seg., 3 de ago. de 2026 às 10:00, Shop <support@shop.example> escreveu:",
    "gmail_cs": "po 3. 8. 2026 v 10:00 odesílatel Shop <support@shop.example> napsal:",
}
BLOCKS = {
    "en": "From: Shop <s@x>\nSent: Monday, August 3, 2026 10:00\nTo: Marie\nSubject: Order",
    "en_bold": "*From:* Shop <s@x>\n*Sent:* Monday\n*To:* Marie\n*Subject:* Order",
    "en_rule": "________________________________\nFrom: Shop <s@x>\nSent: Monday\nTo: Marie\nSubject: Order",
    "en_original": "-----Original Message-----\nFrom: Shop",
    "de": "Von: Shop <s@x>\nGesendet: Montag, 3. August 2026 10:00\nAn: Marie\nBetreff: Bestellung",
    "de_original": "----- Ursprüngliche Nachricht -----\nVon: Shop",
    "fr": "De : Shop <s@x>\nEnvoyé : lundi 3 août 2026 10:00\nÀ : Marie\nObjet : Commande",
    "it": "Da: Shop <s@x>\nInviato: lunedì 3 agosto 2026 10:00\nA: Marie\nOggetto: Ordine",
    "es": "De: Shop <s@x>\nEnviado el: lunes, 3 de agosto de 2026 10:00\nPara: Marie\nAsunto: Pedido",
    "nl": "Van: Shop <s@x>\nVerzonden: maandag 3 augustus 2026 10:00\nAan: Marie\nOnderwerp: Bestelling",
    "pl": "Od: Shop <s@x>\nWysłano: poniedziałek, 3 sierpnia 2026 10:00\nDo: Marie\nTemat: Zamówienie",
    "sv": "Från: Shop <s@x>\nSkickat: den 3 augusti 2026 10:00\nTill: Marie\nÄmne: Beställning",
    "da": "Fra: Shop <s@x>\nSendt: 3. august 2026 10:00\nTil: Marie\nEmne: Ordre",
    "fi": "Lähettäjä: Shop <s@x>\nLähetetty: maanantai 3. elokuuta 2026\nVastaanottaja: Marie\nAihe: Tilaus",
    "ja": "差出人: Shop <s@x>\n送信日時: 2026年8月3日 10:00\n宛先: Marie\n件名: 注文",
}
TAGLINES = [
    "Sent from my iPhone", "Von meinem iPhone gesendet", "Envoyé de mon iPhone", "Inviato da iPhone",
    "Enviado desde mi iPhone", "Verstuurd vanaf mijn iPhone", "Wysłane z iPhone'a", "iPhoneから送信",
    "Get Outlook for Android", "Skickat från min iPhone", "Sendt fra min iPhone", "-- \nMarie Lang\nExample Ltd",
]  # fmt: skip


@pytest.mark.parametrize("name", ATTRIBUTIONS)
@pytest.mark.parametrize("quote", ["> Your parcel is on its way.\n> Shop", "", ">> older\n> Your parcel\n>\n> Shop"])
def test_what_stands_below_an_attribution_is_left_out(name: str, quote: str) -> None:
    assert reply_of(f"{REPLY}\n\n{ATTRIBUTIONS[name]}\n\n{quote}") == REPLY


@pytest.mark.parametrize("name", BLOCKS)
def test_what_stands_below_a_block_of_headers_is_left_out(name: str) -> None:
    assert reply_of(f"{REPLY}\n\n{BLOCKS[name]}\n\nYour parcel is on its way.") == REPLY


@pytest.mark.parametrize("line", TAGLINES)
def test_what_a_program_signs_with_is_left_out(line: str) -> None:
    assert reply_of(f"{REPLY}\n\n{line}") == REPLY


def test_an_answer_below_the_quote_is_kept() -> None:
    assert reply_of(f"{ATTRIBUTIONS['gmail_en']}\n> Your parcel\n> is on its way.\n\n{REPLY}") == REPLY


def test_answers_between_quoted_lines_keep_the_questions() -> None:
    text = "> When did you order?\nOn Monday.\n> What was it?\nA lamp.\n> Which colour?\nRed."
    assert reply_of(text) == text


def test_a_forward_is_kept_whole() -> None:
    text = f"See below\n\n---------- Forwarded message ---------\n{BLOCKS['en']}\n\nThe offer"
    assert reply_of(text) == text
    assert reply_of(f"See\n\n{BLOCKS['de']}\n\nx", is_forward=True) == f"See\n\n{BLOCKS['de']}\n\nx"


@pytest.mark.parametrize(
    "text",
    [
        "From: Berlin to Hamburg, when does it come?",
        "Von: Marie Lang\nBestellnummer 4711\nBitte liefern",
        "I wrote on 3 Aug 2026 at 10:00 and asked the following:\nwhere is it",
        "5 > 3 and 2 < 4",
        "The invoice says:\n- one lamp\n- one bulb",
    ],
)
def test_what_only_looks_like_a_quote_is_kept(text: str) -> None:
    assert reply_of(text) == text


def test_nothing_but_a_quote_is_shown_as_it_is() -> None:
    assert reply_of("> Your parcel") == "> Your parcel"


PAGES = {
    "gmail": '<div dir="ltr">{}</div><br><div class="gmail_quote"><div class="gmail_attr">On Mon, Aug 3, 2026 at 10:00 '
    'Shop &lt;<a href="mailto:s@x.example">s@x.example</a>&gt; wrote:<br></div>'
    "<blockquote>Old words</blockquote></div>",
    "outlook": "<p>{}</p><div id='appendonsend'></div><hr><div id='divRplyFwdMsg'><b>From:</b> Shop</div>"
    "<p>Old words</p>",
    "outlook_desktop": "<p class=MsoNormal>{}</p><div style='border:none;border-top:solid #E1E1E1 1.0pt;"
    "padding:3.0pt 0cm 0cm 0cm'><p><b>Von:</b> Shop<br><b>Gesendet:</b> Montag</p></div><p>Old words</p>",
    "apple": '{}<br><div><blockquote type="cite">On 3 Aug 2026, at 10:00, Shop wrote:<br>Old words</blockquote></div>',
    "thunderbird": '<p>{}</p><div class="moz-cite-prefix">Am 03.08.2026 um 10:00 schrieb Shop:<br></div>'
    '<blockquote type="cite">Old words</blockquote>',
    "yahoo": '<div>{}</div><div class="yahoo_quoted">On Monday, Shop wrote:<div>Old words</div></div>',
    "proton": '<div>{}</div><div class="protonmail_quote">On Monday Shop wrote:'
    "<blockquote>Old words</blockquote></div>",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_itself_what_it_quotes(name: str) -> None:
    raw = b"Content-Type: text/html; charset=utf-8\n\n" + PAGES[name].format("Thank you, that helps.").encode()
    assert reply_of(content_of(parse(raw)).words) == "Thank you, that helps."
