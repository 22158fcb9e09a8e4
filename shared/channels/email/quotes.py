"""What somebody wrote, apart from the earlier mails below it and from what their program adds: tables of phrases.

Nothing is lost by it, for the whole mail stays with the message; in doubt more is kept rather than less.
"""

import re
from collections.abc import Mapping, Sequence

# An attribution is longer than a line at most so many times, and never longer than so many characters.
ATTRIBUTION_LINES, ATTRIBUTION_LENGTH = 4, 350
BLOCK_LINES = 8
LINES_LIMIT = 20_000

ORIGINAL = (
    r"original (?:message|appointment)|"
    r"urspr(?:ü|ue)ngliche (?:nachricht|e-?mail)|message d['’]origine|message original|"
    r"messaggio originale|mensaje original|mensagem original|oorspronkelijk bericht|(?:wiadomość|oryginalna) "
    r"(?:oryginalna|wiadomość)|ursprungligt meddelande|originalmeddelande|oprindelig meddelelse|opprinnelig melding|"
    r"alkuperäinen viesti|původní zpráva|元のメッセージ|原始邮件"
)
FORWARDED = (
    r"forwarded message|begin forwarded message|weitergeleitete (?:nachricht|e-?mail)|anfang der weitergeleiteten|"
    r"message (?:transféré|réexpédié)|début du message|messaggio (?:inoltrato|reinviato)|mensaje reenviado|"
    r"mensagem encaminhada|doorgestuurd bericht|(?:przekazana|przesłana) (?:dalej )?wiadomość|vidarebefordrat|"
    r"videresendt|välitetty viesti|přeposlaná zpráva|転送(?:された)?メッセージ"
)
SEPARATOR = re.compile(rf"^\W{{0,5}}-{{2,}}\s*(?:{ORIGINAL})\s*:?\s*-{{2,}}\s*$", re.IGNORECASE)
FORWARD = re.compile(rf"^\W{{0,5}}-*\s*(?:{FORWARDED})\b", re.IGNORECASE)
RULE = re.compile(r"^[_\-=*]{20,}\s*$")
WROTE = re.compile(
    r"\bwrote\b|\bschrieb\b|\ba écrit\b|\bha scritto\b|\bescribió\b|\bschreef\b|\bgeschreven\b|\bnapisała?\b|\bpisze\b|"
    r"\bnapisana przez\b|\bskrev\b|\bescreveu\b|\bnapsala?\b|\bodesílatel\b|\bkirjoitti\b|\byazdı\b|\bпишет\b|"
    r"\bнаписала?\b|のメール|さん(?:は|が)?|书写|写道",
    re.IGNORECASE,
)
WHEN = re.compile(r"\d{1,2}[:.h]\d{2}|\b(?:19|20)\d{2}\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|年")
LEAD = re.compile(r"^\W{0,3}(?:on|am|le|il|el|op|w|dnia|den|em|dne|pe|på|a|ma)\b.*\d", re.IGNORECASE)
ANGLE_ADDRESS = re.compile(r"<[^<>\s]+@[^<>\s]+>")
FROM_LABEL = re.compile(
    r"^\W{0,4}(?:from|von|de|da|van|od|från|fra|fr[åa]n|lähettäjä|remetente|odesílatel|差出人|发件人|kimden|от)"
    r"\s?\*?\s*[:：]\*?\s*\S",
    re.IGNORECASE,
)
OTHER_LABEL = re.compile(
    r"^\W{0,4}(?:sent|date|to|cc|subject|reply-to|gesendet|datum|an|betreff|envoyé|date d['’]envoi|à|objet|inviato|"
    r"data|"
    r"a|oggetto|enviado(?: el| em)?|fecha|para|asunto|assunto|verzonden|aan|onderwerp|wysłan[eoy]|wysłano|do|temat|"
    r"skickat|till|ämne|dato|sendt|til|emne|lähetetty|päivämäärä|vastaanottaja|aihe|odesláno|komu|předmět|"
    r"送信日時|日付|宛先|件名|发送时间|收件人|主题)\s?\*?\s*[:：]",
    re.IGNORECASE,
)
SIGNATURE = re.compile(r"^-- ?$")
TAGLINE = re.compile(
    r"^\W{0,3}(?:sent from (?:my|outlook|yahoo|mail|the|proton|samsung)|get outlook for|"
    r"von mein\w{1,3} \w+(?: \w+)? gesendet|"
    r"gesendet (?:von|mit)|diese nachricht wurde von mein\w+ |envoyé (?:de mon|depuis|à partir de)|télécharger outlook|"
    r"inviato (?:da|dal)|scarica outlook|enviado desde|obtener outlook|enviado do meu|verstuurd (?:vanaf|met|via)|"
    r"verzonden (?:vanaf|met|via)|wysłan[eo] z|skickat från|sendt fra|lähetetty (?:iphone|android|laitte|puhelim)|"
    r"odesláno z|iphoneから送信|.{0,20}から送信)",
    re.IGNORECASE,
)


def reply_of(text: str, *, is_forward: bool = False) -> str:
    """The new part of a mail's text; the whole where nothing else would be left, or it is a forward."""
    whole = text.strip()
    lines = whole.split("\n")
    if is_forward or len(lines) > LINES_LIMIT or any(FORWARD.match(line) for line in lines):
        return whole
    kept = _without_block(lines)
    kept = _without_quotes(kept)
    return "\n".join(_without_signature(kept)).strip() or whole


def _without_block(lines: Sequence[str]) -> Sequence[str]:
    """Everything before the line from which on a program repeats the earlier mail without marks."""
    for n, line in enumerate(lines):
        if SEPARATOR.match(line) or _is_block(lines, n):
            above = n
            while above and (not lines[above - 1].strip() or RULE.match(lines[above - 1].strip("> "))):
                above -= 1
            return lines[:above]
    return lines


def _is_block(lines: Sequence[str], n: int) -> bool:
    """A sender's label with two others below it; alone it is what customers write in an enquiry."""
    if not FROM_LABEL.match(lines[n].lstrip("> ")):
        return False
    return sum(bool(OTHER_LABEL.match(line.lstrip("> "))) for line in lines[n + 1 : n + BLOCK_LINES]) >= 2


def _without_quotes(lines: Sequence[str]) -> Sequence[str]:
    """Without marked lines and what announces them; all of it where new and old lines take turns."""
    marked = [line.startswith(">") for line in lines]
    attributed = _attributions(lines, marked)
    if not attributed and not any(marked):
        return lines
    if _runs(lines, marked, attributed) > 2:
        return lines
    kept: list[str] = []
    n = 0
    while n < len(lines):
        length = attributed.get(n, 0)
        if length:
            if not any(marked[n + length :]):
                return kept
            n += length
            continue
        if not marked[n]:
            kept.append(lines[n])
        n += 1
    return kept


def _attributions(lines: Sequence[str], marked: Sequence[bool]) -> dict[int, int]:
    """By its first line how many lines an attribution has."""
    found: dict[int, int] = {}
    for end, line in enumerate(lines):
        if line.rstrip().endswith((":", "：")):
            for n in range(max(0, end - ATTRIBUTION_LINES + 1), end + 1):
                if n not in found and not marked[n] and (length := _attribution(lines, marked, n)):
                    found[n] = length
    return found


def _runs(lines: Sequence[str], marked: Sequence[bool], attributed: Mapping[int, int]) -> int:
    """How often new words begin; what announces a quote is none."""
    runs, was_new, n = 0, False, 0
    while n < len(lines):
        length = attributed.get(n, 0)
        if marked[n] or length:
            was_new = False
            n += max(length, 1)
            continue
        if lines[n].strip():
            runs += not was_new
            was_new = True
        n += 1
    return runs


def _attribution(lines: Sequence[str], marked: Sequence[bool], n: int) -> int:
    """How many lines from here on say who wrote what follows, and when; 0 where they do not."""
    joined = ""
    for length in range(1, ATTRIBUTION_LINES + 1):
        if n + length > len(lines) or marked[n + length - 1] or not lines[n + length - 1].strip():
            return 0
        joined = f"{joined} {lines[n + length - 1].strip()}".strip()
        if len(joined) > ATTRIBUTION_LENGTH:
            return 0
        if not joined.endswith((":", "：")):
            continue
        if not WHEN.search(joined) or not (WROTE.search(joined) or ANGLE_ADDRESS.search(joined)):
            return 0
        # What stands above an attribution is not of it, unless it is its broken line.
        starts_later = length > 1 and _attribution(lines, marked, n + 1) == length - 1
        return 0 if starts_later and not LEAD.match(lines[n]) else length
    return 0


def _without_signature(lines: Sequence[str]) -> Sequence[str]:
    """Without what stands below the dashes, and the line in which a telephone names itself."""
    end = next((n for n, line in enumerate(lines) if SIGNATURE.match(line)), len(lines))
    kept = list(lines[:end])
    while kept and (not kept[-1].strip() or TAGLINE.match(kept[-1])):
        kept.pop()
    return kept
