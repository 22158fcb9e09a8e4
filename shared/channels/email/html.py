"""HTML mails: as text whose quotes are marked by `> `, and made safe to show."""

import re
from dataclasses import dataclass, field

import nh3
from selectolax.lexbor import LexborHTMLParser, LexborNode

# The cleaner's time grows with the square of the depth, the walker's with the size.
HTML_LIMIT = 1_000_000
DEPTH_LIMIT = 150
NODES_LIMIT = 200_000
DROPPED = frozenset(
    [
        "script",
        "style",
        "head",
        "title",
        "noscript",
        "template",
        "object",
        "svg",
        "math",
        "iframe",
        "select",
        "textarea",
    ]
)
BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tr",
        "ul",
    ]
)
APART = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote"])
HIDDEN = re.compile(r"display\s*:\s*none|font-size\s*:\s*0(?:px|pt)?\s*(?:;|$)|mso-hide\s*:\s*all", re.IGNORECASE)
OUTLOOK_RULE = re.compile(r"border-top\s*:\s*solid\b.*padding\s*:\s*3\.0pt", re.IGNORECASE)
QUOTE_CLASSES = frozenset(("gmail_quote", "gmail_quote_container", "yahoo_quoted", "protonmail_quote", "gmail_extra"))
# From here on everything is what was there before.
QUOTE_STARTS = frozenset(
    ("appendonsend", "divrplyfwdmsg", "olk_src_body_section", "mail-editor-reference-message-container")
)
SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")
SCHEMES = {"http", "https", "mailto", "tel", "cid"}
STYLES = {
    "color", "background-color", "font-weight", "font-style", "font-size", "font-family", "text-decoration",
    "text-align", "margin", "padding", "border", "width", "height",
}  # fmt: skip
ATTRIBUTES = {
    "*": {"style", "dir", "lang", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan", "align", "valign", "width", "bgcolor"},
    "th": {"colspan", "rowspan", "align", "valign", "width", "bgcolor"},
    "table": {"cellpadding", "cellspacing", "border", "width", "align", "bgcolor"},
    "font": {"color", "size", "face"},
    "ol": {"start"},
    "blockquote": {"type", "cite"},
}
TAGS = frozenset(nh3.ALLOWED_TAGS) | {"font", "u", "s", "big", "small"}


def sanitised(html: str) -> str | None:
    """Without scripts, forms, and anything that loads or runs; None where it is too large or deep to be cleaned."""
    if len(html) > HTML_LIMIT or _depth(html) > DEPTH_LIMIT:
        return None
    return nh3.clean(
        html,
        tags=set(TAGS),
        clean_content_tags={"script", "style", "title"},
        attributes={name: set(allowed) for name, allowed in ATTRIBUTES.items()},
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        filter_style_properties=STYLES,
    )


def _depth(html: str) -> int:
    """At most how deep its elements lie; unclosed ones count, as parsers leave them open."""
    depth = deepest = 0
    for tag in re.finditer(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)", html):
        if tag[2].lower() in ("br", "img", "hr", "meta", "input", "link", "col", "p", "li", "td", "tr", "option"):
            continue
        depth = max(depth - 1, 0) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return deepest


@dataclass(slots=True)
class _Text:
    """What was walked over so far; a line is written once it ends, with its quote marks."""

    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    quotes: int = 0
    preformatted: int = 0

    def word(self, text: str) -> None:
        if self.preformatted:
            for position, piece in enumerate(text.split("\n")):
                if position:
                    self.end()
                self.line.append(piece)
            return
        text = SPACES.sub(" ", text)
        if text == " " and (not self.line or self.line[-1].endswith(" ")):
            return
        self.line.append(text)

    def end(self, *, apart: bool = False) -> None:
        text = "".join(self.line)
        text = text.rstrip() if self.preformatted else re.sub(" {2,}", " ", text).strip()
        self.line.clear()
        mark = ">" * self.quotes
        if text:
            self.lines.append(f"{mark} {text}" if mark else text)
        elif not self.lines or self.lines[-1].strip("> ") or not apart:
            self.lines.append(mark)

    def close(self, *, apart: bool) -> None:
        """Ends the line that is open, if one is; `apart` leaves an empty one behind."""
        if "".join(self.line).strip():
            self.end()
        self.line.clear()
        if apart and self.lines and self.lines[-1].strip("> "):
            self.lines.append(">" * self.quotes)


def text_of(html: str) -> str:
    """The text with its lines, links and lists; what earlier mails said is marked by `> `."""
    root = LexborHTMLParser(html[:HTML_LIMIT]).root
    out = _Text()
    if root is not None:
        _walk(root, out)
    out.close(apart=False)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out.lines)).strip()


def _walk(root: LexborNode, out: _Text) -> None:
    """Depth first without recursion, however deep; what is too much is left out."""
    node: LexborNode | None = root
    entered: list[tuple[LexborNode, int]] = []
    left = NODES_LIMIT
    while node is not None and left:
        left -= 1
        child = _enter(node, out, entered)
        while child is None and node is not None:
            # The nodes' own comparison writes both out as HTML.
            if entered and entered[-1][0].mem_id == node.mem_id:
                _leave(*entered.pop(), out)
            if node.mem_id == root.mem_id:
                return
            child = node.next
            if child is None:
                node = node.parent
        node = child


def _enter(node: LexborNode, out: _Text, entered: list[tuple[LexborNode, int]]) -> LexborNode | None:
    """Writes what a node begins with; its first child, if that is to be walked over."""
    tag = node.tag or ""
    if tag == "-text":
        out.word(node.text(deep=False) or "")
        return None
    if tag == "br":
        out.end()
        return None
    if tag in DROPPED or tag.startswith(("-comment", "!")):
        return None
    attributes = node.attributes if tag not in ("html", "body") else {}
    if HIDDEN.search(attributes.get("style") or ""):
        return None
    if tag == "img":
        out.word(attributes.get("alt") or "")
        return None
    if tag in BLOCKS:
        out.close(apart=tag in APART)
    quote = _is_quote(tag, attributes)
    out.quotes += quote
    if _starts_quote(attributes):
        # Everything after it belongs to it, and nothing takes that back.
        out.quotes += 1
    if tag == "pre":
        out.preformatted += 1
    if tag == "li":
        out.word("- ")
    entered.append((node, quote))
    return node.child


def _leave(node: LexborNode, quote: int, out: _Text) -> None:
    tag = node.tag or ""
    if tag in ("td", "th"):
        out.word(" ")
    if tag == "a":
        _link(node, out)
    if tag in BLOCKS:
        out.close(apart=tag in APART)
    if tag == "pre":
        out.preformatted -= 1
    out.quotes -= quote


def _link(node: LexborNode, out: _Text) -> None:
    """Where it leads, unless its words say so."""
    target = (node.attributes.get("href") or "").strip()
    shown = "".join(out.line)
    if target.startswith(("http://", "https://")) and len(target) <= 500 and target.rstrip("/") not in shown:
        out.word(f" ({target})")


def _is_quote(tag: str, attributes: dict[str, str | None]) -> bool:
    classes = (attributes.get("class") or "").lower().split()
    return tag == "blockquote" or not QUOTE_CLASSES.isdisjoint(classes)


def _starts_quote(attributes: dict[str, str | None]) -> bool:
    name = (attributes.get("id") or "").lower().removeprefix("x_")
    return name in QUOTE_STARTS or bool(OUTLOOK_RULE.search(attributes.get("style") or ""))
